"""The doctor: every sentence has its cause, a healthy place has none, and real processes find what is there."""

import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from experiments import doctor
from experiments.diagnosis import machine, trials
from experiments.diagnosis.findings import findings
from experiments.diagnosis.report import Device, Disk, Machine, Reduction, Report, in_words, read_reports, write_report

GPU = Device(kind="NVIDIA H100", platform="gpu", memory=80 * 2**30)
CPU = Device(kind="cpu", platform="cpu")
Change = Callable[[Report], Report]


def _report(index: int, host: str = "") -> Report:
    return Report(
        index=index,
        count=2,
        found="launch",
        machine=Machine(
            host=host or "ab"[index],
            system="Linux",
            cores=16,
            memory=2**37,
            open_files=65536,
            shared_memory=2**33,
            nvidia=True,
            cuda=True,
            variables={},
        ),
        disk=Disk(kind="lustre", free=2**40, total=2**42, sync_seconds=0.01),
        facts={"jax": "0.10.2", "commit": "1f"},
        clock=1e9 + index * 0.1,
        sees=[0, 1],
        devices=[GPU, GPU],
    )


def _on(part: str, **changes: Any) -> Change:
    def change(report: Report) -> Report:
        return msgspec.structs.replace(report, **{part: msgspec.structs.replace(getattr(report, part), **changes)})

    return change


def _with(**changes: Any) -> Change:
    return lambda report: msgspec.structs.replace(report, **changes)


def _both(*changes: Change) -> Change:
    def change(report: Report) -> Report:
        for one in changes:
            report = one(report)
        return report

    return change


def test_nothing_is_said_of_a_healthy_place() -> None:
    assert findings([_report(0), _report(1)]) == []


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (_on("machine", open_files=1024), "b: a process may open 1024 files, expected at least 4096"),
        (_on("machine", shared_memory=64 * 2**20), "b: /dev/shm has 64 MiB, expected at least 512 MiB"),
        (_on("disk", free=2**30), "b: the run's file system has 1 GiB of 4.0 TiB free"),
        (_on("disk", free=2**37), "b: the run's file system has 128 GiB of 4.0 TiB free"),  # under 5%
        (_on("disk", trouble="renaming failed"), "b: the run's folder (lustre): renaming failed."),
        (_on("disk", sync_seconds=3.0), "b: writing a small file for good took 3.0 s on lustre"),
        (_with(devices=[GPU]), "the processes have different devices (process 0: 2 NVIDIA H100; process 1: 1 NVIDIA"),
        (_with(clock=1e9 + 90), "the clocks of b and a differ by 90.0 s"),
        (_with(facts={"jax": "0.10.1", "commit": "1f"}), "process 1 on b differs from the others in jax: got 0.10.1"),
        (_with(sees=[1]), "process 1 on b does not see what process 0 wrote in the run's folder (lustre)"),
        (_with(error="did not meet"), "process 1 on b: did not meet."),
        (
            _both(_with(devices=[CPU, CPU]), _on("machine", variables={"JAX_PLATFORMS": "cpu"})),
            "b has an NVIDIA driver, but JAX_PLATFORMS=cpu hides its GPU",
        ),
        (
            _both(_with(devices=[CPU, CPU]), _on("machine", variables={"CUDA_VISIBLE_DEVICES": ""})),
            "b has an NVIDIA driver, but CUDA_VISIBLE_DEVICES hides its GPU",
        ),
        (
            _both(_with(devices=[CPU]), _on("machine", cuda=False)),
            "JAX is installed for the CPU only: make install CUDA",
        ),
        (_with(devices=[CPU]), "b has an NVIDIA driver, but JAX found no GPU"),
        (
            _both(_with(devices=None), _on("machine", variables={"https_proxy": "x"})),
            "b: https_proxy is set and may keep",
        ),
    ],
)
def test_each_thing_that_is_wrong_is_said_in_one_sentence(change: Change, sentence: str) -> None:
    said = findings([_report(0), change(_report(1))])
    assert any(line.startswith(sentence) or sentence in line for line in said)
    assert all(line.endswith((".", "?")) and "\n" not in line for line in said)


def test_what_holds_for_all_processes_of_a_host_is_said_once() -> None:
    low = _on("machine", open_files=256, host="a")
    assert len(findings([low(_report(0)), low(_report(1))])) == 1


def test_more_processes_than_cores_and_processes_that_say_nothing() -> None:
    crowded = [_on("machine", cores=1, host="a")(_report(index)) for index in range(2)]
    assert findings(crowded) == ["a: 2 processes share 1 cores, expected at most one process a core."]
    assert findings([_report(1)]) == ["process 0 of 2 did not report: see its log."]
    assert findings([]) == ["no process reported: see the log."]


def test_the_file_system_is_the_one_that_is_mounted_nearest_above() -> None:
    mounts = "dev / ext4 rw 0 0\nhost:/x /scratch nfs4 rw 0 0\nnone /scratch/my\\040runs tmpfs rw 0 0\n"
    assert machine._kind(Path("/scratch/my runs/one"), mounts) == "tmpfs"
    assert machine._kind(Path("/scratch/mine"), mounts) == "nfs4"
    assert machine._kind(Path("/scratched"), mounts) == "ext4"


def test_a_folder_that_takes_no_files_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(machine, "write_atomically", refuse)
    assert "Read-only file system" in machine.look_at_disk(tmp_path).trouble


def test_a_rate_is_what_a_ring_moves_over_each_link() -> None:
    assert Reduction(devices=4, size=100, seconds=0.5).rate == pytest.approx(2 * 3 / 4 * 100 / 0.5)
    assert [in_words(n) for n in (17, 2**20, 3 * 2**40)] == ["17 B", "1 MiB", "3.0 TiB"]


def test_reports_survive_the_way_through_a_file(tmp_path: Path) -> None:
    reports = [_report(0), msgspec.structs.replace(_report(1), within=Reduction(devices=2, size=1, seconds=0.1))]
    for report in reversed(reports):
        write_report(tmp_path, report)
    assert read_reports(tmp_path) == reports


def test_a_wrong_sum_and_a_wrong_checkpoint_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert trials.save_and_restore(tmp_path / "right", 2**12).size == 2**12
    restore = trials.ocp.StandardCheckpointer.restore

    def spoil(*arguments: Any) -> Any:
        return {"array": restore(*arguments)["array"] + 1}

    monkeypatch.setattr(trials.ocp.StandardCheckpointer, "restore", spoil)
    with pytest.raises(RuntimeError, match="differs from what was written"):
        trials.save_and_restore(tmp_path / "wrong", 2**12)


def test_two_processes_of_two_devices_examine_this_machine(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    status = doctor.main(["--run", str(tmp_path), "--processes", "2", "--devices-per-process", "2"])
    said = " ".join(capfd.readouterr().out.split())
    for words in ("processes 2 (2 on", "devices 4 cpu (cpu)", "by gloo over TCP", "rename and fsync work", "equal"):
        assert words in said
    assert "1 MiB on each of 4 devices in" in said
    assert status == (0 if said.endswith("nothing is wrong") else 1)
    assert list(tmp_path.iterdir()) == []  # it cleans up


def test_a_limit_of_this_machine_is_found_and_the_status_is_1(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    try:
        assert doctor.main(["--run", str(tmp_path)]) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert "a process may open 512 files, expected at least 4096" in capfd.readouterr().out


def test_processes_that_take_too_long_are_ended_and_said(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert doctor.main(["--run", str(tmp_path), "--limit", "0.01"]) == 1
    assert "no process reported" in capfd.readouterr().out
    assert list(tmp_path.iterdir()) == []
