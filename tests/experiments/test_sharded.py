"""A simulated set in shards: the same bits however it is made, ended and gone on with; refusals; failing cases."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import psutil
import pytest

from experiments import sharded, simulate, simulation
from experiments.shard_task import ShardTask, make_shard
from pnol_jax.data import AxisSpec, SourceSpec, read_cases
from pnol_jax.data.shards import read_lines
from pnol_jax.data.simulators import SIMULATORS
from pnol_jax.errors import InputError

ROOT = Path(__file__).parents[2]
DARCY = ["darcy", "--cases", "20", "--points", "9,12", "--shard-size", "3"]
SPEC = SourceSpec(("permeability",), ("pressure",), (AxisSpec("bounded", 1.0, "centre"),) * 2)
# A solver step that is too large: some first states blow up, others do not.
UNSTABLE = [
    "burgers",
    "--points",
    "16",
    "resolution=32",
    "steps=3",
    "substeps=1",
    "modes=6",
    "tau=5.0",
    "time_step=0.2",
]
UNSTABLE += ["viscosity=0.0001", "sigma=80.0", "--shard-size", "6"]


def files(folder: Path) -> dict[str, bytes]:
    """What a folder holds."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/shard-*"))


def make(out: Path, *words: str) -> int:
    return simulate.main([*words, "--out", str(out)])


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set made in one go, by one process."""
    out = tmp_path_factory.mktemp("unbroken") / "set"
    assert make(out, *DARCY) == 0
    return out


def test_shards_hold_the_cases_of_a_set_without(unbroken: Path, tmp_path: Path) -> None:
    make(tmp_path / "whole", *DARCY[:-2])
    assert not shards(tmp_path / "whole")
    whole, parts = (read_cases([path], SPEC) for path in (tmp_path / "whole", unbroken))
    assert [part.grid for part in parts.groups] == [part.grid for part in whole.groups]
    for one, other in zip(parts.groups, whole.groups, strict=True):
        np.testing.assert_array_equal(one.inputs, other.inputs)
        np.testing.assert_array_equal(one.outputs, other.outputs)
    lines = [line for shard in shards(unbroken)[:7] for line in (shard / "cases.jsonl").read_text().splitlines()]
    assert lines == (tmp_path / "whole" / "12x12" / "cases.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [{"case": case, "seed": [0, case]} for case in range(20)]


def test_what_is_there_is_not_computed_again(unbroken: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    shutil.copytree(unbroken, out)
    (out / "about.json").rename(out / "unfinished.json")
    for gone in ("9x9/shard-00002", "12x12/shard-00006"):
        shutil.rmtree(out / gone)
    before = {shard: shard.stat().st_ino for shard in shards(out)}
    assert make(out, *DARCY) == 0
    assert {shard: shard.stat().st_ino for shard in before} == before
    assert files(out) == files(unbroken)


@pytest.mark.parametrize("gone", [["12x12/digests.json"], ["9x9/digests.json", "9x9/x.npy", "12x12/y.npy"], []])
@pytest.mark.parametrize("about", ["about.json", "unfinished.json", "both"])
def test_it_is_finished_from_wherever_it_stopped(unbroken: Path, tmp_path: Path, gone: list[str], about: str) -> None:
    out = tmp_path / "set"
    shutil.copytree(unbroken, out)
    for name in gone:
        (out / name).unlink()
    if about != "about.json":
        shutil.copy(out / "about.json", out / "unfinished.json")
    if about == "unfinished.json":
        (out / "about.json").unlink()
    assert make(out, *DARCY) == 0
    assert files(out) == files(unbroken)


@pytest.mark.parametrize("name", ["pressure.npy", "cases.jsonl", "digests.json"])
def test_a_damaged_shard_is_named_and_made_again(
    unbroken: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "set"
    shutil.copytree(unbroken, out)
    file = out / "9x9" / "shard-00004" / name
    content = bytearray(file.read_bytes())
    content[random.randrange(len(content))] ^= 1 << random.randrange(8)
    file.write_bytes(content)
    assert make(out, *DARCY) == 0
    assert "9x9/shard-00004/" in capsys.readouterr().err
    assert files(out) == files(unbroken)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["refine=1"], " and was made otherwise: parameters.refine: got 1, expected 3"),
        (["--seed", "1", "--cases", "21"], " and was made otherwise: seed: got 1, expected 0"),
        (["--points", "9"], r" and was made otherwise: points: got \[9\], expected \[9, 12\]"),
        (["--cases", "21"], ""),
        (["--shard-size", "4"], ""),
    ],
)
def test_a_folder_of_another_plan_is_refused_with_what_differs(unbroken: Path, words: list[str], message: str) -> None:
    before = files(unbroken)
    with pytest.raises(InputError, match=f"set is finished with 20 cases{message}; expected another --out"):
        make(unbroken, *DARCY, *words)
    assert files(unbroken) == before


def test_a_folder_that_was_begun_otherwise_is_refused_with_what_differs(unbroken: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    shutil.copytree(unbroken, out)
    (out / "about.json").rename(out / "unfinished.json")
    message = "cases: got 21, expected 20; expected the same, or another --out"
    with pytest.raises(InputError, match=f"set was begun otherwise: {message}"):
        make(out, *DARCY, "--cases", "21")


def test_a_folder_or_a_worker_of_other_code_is_refused(unbroken: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = msgspec.convert(json.loads((unbroken / "about.json").read_text()) | {}, dict)
    fields = {name: plan[name] for name in simulation.Plan.__struct_fields__}
    here = simulation.this_code()
    monkeypatch.setattr(simulation, "this_code", lambda: here | {"versions": here["versions"] | {"numpy": "1.0"}})
    with pytest.raises(InputError, match=r"versions\.numpy: got '1\.0', expected '"):
        make(unbroken, *DARCY)
    task = ShardTask(msgspec.convert(fields, simulation.Plan), str(unbroken), "9x9", 9, 0, 0)
    with pytest.raises(InputError, match=r"this worker cannot keep to the plan: versions\.numpy: got '1\.0'"):
        make_shard(task)


def test_a_set_without_shards_is_left_alone(tmp_path: Path) -> None:
    make(tmp_path / "set", "darcy", "--cases", "2", "--points", "9")
    with pytest.raises(InputError, match="set is finished with 2 cases; expected another --out"):
        make(tmp_path / "set", "darcy", "--cases", "2", "--points", "9", "--shard-size", "1")


def test_two_processes_do_not_write_one_set(unbroken: Path) -> None:
    code = "import fcntl, os, sys; fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), fcntl.LOCK_EX); print(); input()"
    words = [sys.executable, "-c", code, str(unbroken)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(InputError, match="another process is writing it"):
            make(unbroken, *DARCY)
        other.communicate(b"\n")
    assert make(unbroken, *DARCY) == 0


def test_cases_that_cannot_be_computed_are_recorded_counted_and_left_out(tmp_path: Path) -> None:
    out = tmp_path / "set"
    with pytest.raises(InputError, match=r"16/shard-0000\d: case \d+: u is not finite everywhere"):
        make(out, *UNSTABLE, "--cases", "30")
    assert make(out, *UNSTABLE, "--cases", "30", "--allow-failures", "0.9") == 0
    lines = [line for shard in shards(out) for line in read_lines(shard)]
    failed = [line["case"] for line in lines if "error" in line]
    assert [line["case"] for line in lines] == list(range(30))
    assert 0 < len(failed) < 27
    assert json.loads((out / "about.json").read_text())["failed"] == {"16": len(failed)}
    spec = SourceSpec((), ("u",), (AxisSpec("periodic", 1.0),), time_step=0.2)
    outputs = read_cases([out], spec).groups[0].outputs[:]
    whole = tmp_path / "whole"
    simulator = msgspec.convert(json.loads((out / "about.json").read_text())["parameters"], SIMULATORS["burgers"])
    computed = [simulation.compute_case(simulator, 0, case, 16).arrays for case in range(30) if case not in failed]
    np.testing.assert_array_equal(outputs[..., 0], np.stack([arrays["u"] for arrays in computed if arrays]))
    make(whole, *UNSTABLE[:-2], "--cases", "30", "--allow-failures", "0.9")
    np.testing.assert_array_equal(read_cases([whole], spec).groups[0].outputs[:], outputs)
    with pytest.raises(InputError, match=r"\d cases on 16 points cannot be computed so far, expected at most 1 "):
        make(out, *UNSTABLE, "--cases", "30", "--allow-failures", "0.05")


def test_a_set_of_which_nothing_is_made_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="33/shard-00000: case 0: points: got 33, expected a divisor"):
        make(tmp_path / "set", "burgers", "--points", "33", "--shard-size", "5")
    assert not list(tmp_path.iterdir())


def test_parameters_that_a_simulator_draws_for_a_case_are_recorded_and_can_be_inputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Drawn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        """A wave of random amplitude."""

        ndim, time_step, inputs, outputs = 1, None, ("amplitude",), ("u",)
        axes = SIMULATORS["burgers"].axes
        length, dimensions = 1.0, 1

        def case(self, generator: np.random.Generator, points: int) -> dict[str, np.ndarray]:
            amplitude = generator.random()
            return {"amplitude": np.array(amplitude), "u": amplitude * np.cos(2 * np.pi * np.arange(points) / points)}

    monkeypatch.setitem(SIMULATORS, "darcy", Drawn)
    make(tmp_path / "set", "darcy", "--points", "8", "--cases", "5", "--shard-size", "2")
    group = read_cases([tmp_path / "set"], SourceSpec(("amplitude",), ("u",), (AxisSpec(),))).groups[0]
    recorded = [line["parameters"]["amplitude"] for shard in shards(tmp_path / "set") for line in read_lines(shard)]
    np.testing.assert_allclose(group.inputs[:, 3, 0], recorded, rtol=1e-6)
    np.testing.assert_array_equal(group.inputs[:, 0], group.outputs[:, 0])


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """A file system of so many KiB, to be had again with more."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root")
    mounted = False

    def mount(size: int) -> Path:
        nonlocal mounted
        options = f"size={size}k" + (",remount" if mounted else "")
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(disk)], capture_output=True, text=True
        )
        if done.returncode:
            pytest.skip(f"a small tmpfs cannot be mounted: {done.stderr.strip()}")
        mounted = True
        return disk

    yield mount
    if mounted:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_is_said_and_the_set_goes_on_when_there_is_room(
    unbroken: Path, small_disk: Callable[[int], Path]
) -> None:
    out = small_disk(100) / "set"
    with pytest.raises(InputError, match=r"shard-000\d\d: .*No space left on device.*the same command again goes on"):
        make(out, *DARCY)
    there = shards(out)
    assert there
    assert [file.name for file in out.glob("*/.*")] == []
    inodes = [shard.stat().st_ino for shard in there]
    small_disk(10_000)
    assert make(out, *DARCY) == 0
    assert [shard.stat().st_ino for shard in there] == inodes
    assert files(out) == files(unbroken)


LONG = ["darcy", "--cases", "144", "--points", "24", "--shard-size", "2"]


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("long") / "set"
    assert make(out, *LONG) == 0
    return out


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """The command in a process of its own; ended with the test."""
    started: list[subprocess.Popen[bytes]] = []

    def run(*words: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "experiments.simulate", *LONG, "--out", str(tmp_path / "set"), *words]
        with open(tmp_path / "output.txt", "ab") as output:
            process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output, start_new_session=True)
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.wait()


def until(process: subprocess.Popen[bytes], out: Path, count: int) -> bool:
    """Wait until there are so many shards, or the process has ended; whether it has not."""
    deadline = time.monotonic() + 120
    while process.poll() is None and len(shards(out)) < count:
        assert time.monotonic() < deadline, f"{len(shards(out))} shards of {count}"
        time.sleep(0.005)
    return process.poll() is None


def workers(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    return [child for child in psutil.Process(process.pid).children(recursive=True) if _works(child)]


def _works(child: psutil.Process) -> bool:
    try:
        return "resource_tracker" not in " ".join(child.cmdline())
    except psutil.NoSuchProcess:  # it has ended meanwhile
        return False


def check_that_all_shards_are_whole(out: Path, complete: Path) -> None:
    expected = files(complete)
    for shard in shards(out):
        for name, content in files(shard).items():
            assert content == expected[f"{shard.parent.name}/{shard.name}/{name}"]
        assert len(files(shard)) == 4


@pytest.mark.slow
@pytest.mark.parametrize(("count", "after"), [("1", "2"), ("2", "1")])
def test_killed_at_random_moments_and_gone_on_with_it_is_the_unbroken_set_bit_for_bit(
    count: str, after: str, long: Path, tmp_path: Path, start: Callable[..., subprocess.Popen[bytes]]
) -> None:
    out = tmp_path / "set"
    for _ in range(3):
        process = start("--workers", count)
        alive = until(process, out, len(shards(out)) + 1)
        time.sleep(random.uniform(0, 0.3))
        orphans = workers(process) if alive and process.poll() is None else []
        process.kill()
        process.wait()
        _, left = psutil.wait_procs(orphans, timeout=30)
        assert not [orphan for orphan in left if orphan.status() != psutil.STATUS_ZOMBIE]
        check_that_all_shards_are_whole(out, long)
    assert make(out, *LONG, "--workers", after) == 0
    assert files(out) == files(long)


@pytest.mark.slow
def test_workers_killed_at_random_moments_change_nothing(
    long: Path, tmp_path: Path, start: Callable[..., subprocess.Popen[bytes]]
) -> None:
    process = start("--workers", "2")
    for wanted in (2, 8, 14):
        if until(process, tmp_path / "set", wanted):
            time.sleep(random.uniform(0, 0.3))
            for child in random.sample(found := workers(process), min(1, len(found))):
                child.kill()
    assert process.wait(120) == 0, (tmp_path / "output.txt").read_text()
    assert files(tmp_path / "set") == files(long)


@pytest.mark.parametrize("made", [0, 2])
def test_a_stop_says_how_many_cases_are_finished(
    made: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(task: ShardTask) -> int:
        if task.number >= made:
            raise KeyboardInterrupt
        return make_shard(task)

    monkeypatch.setattr(sharded, "make_shard", interrupted)
    assert make(tmp_path / "set", "darcy", "--cases", "9", "--points", "9", "--shard-size", "4") == 75
    said = capsys.readouterr().err
    assert f"set: stopped with {4 * made} of 9 cases; " in said
    assert ("what is finished stays" in said) == (tmp_path / "set").exists() == bool(made)


@pytest.mark.slow
@pytest.mark.parametrize(("count", "number"), [("1", signal.SIGTERM), ("2", signal.SIGINT)])
def test_interrupted_it_ends_cleanly_and_keeps_what_is_finished(
    count: str, number: signal.Signals, long: Path, tmp_path: Path, start: Callable[..., subprocess.Popen[bytes]]
) -> None:
    out = tmp_path / "set"
    process = start("--workers", count)
    assert until(process, out, 3)
    os.killpg(process.pid, number)  # Ctrl-C, and a queueing system, reach the workers too
    assert process.wait(60) == 75
    output = (tmp_path / "output.txt").read_text()
    said = re.search(r"set: stopped with (\d+) of \d+ cases; .* the same command again goes on from there", output)
    assert said
    assert int(said[1]) == sum(len(read_lines(shard)) for shard in shards(out))
    assert "Traceback" not in output
    assert len(shards(out)) >= 3
    assert sorted(file.name for file in out.iterdir()) == ["24x24", "unfinished.json"]
    assert not list(out.glob("*/.*"))
    check_that_all_shards_are_whole(out, long)
    assert make(out, *LONG) == 0
    assert files(out) == files(long)
