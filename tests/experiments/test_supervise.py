"""The supervisor with real processes: losses, restarts, signals, hangs, and its own death."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from experiments.supervision.events import Events, read_events
from experiments.supervision.machine import Policy
from experiments.supervision.sites import Local, log_file
from experiments.supervision.supervise import newest_checkpoint, supervise
from experiments.supervision.terminal import Terminal
from pnol_jax.errors import InputError
from tests.processes import until

STAND_IN = Path(__file__).with_name("stand_in.py")
POLICY = Policy(first_delay=0.05, longest_delay=0.1, grace=2, hang=0.5, begin=30, stacks=0.3)

# The supervisor as a process of its own, so that it can be sent signals.
SUPERVISOR = """
import json, sys
from pathlib import Path
from experiments.supervision.machine import Policy
from experiments.supervision.sites import Local
from experiments.supervision.supervise import supervise
folder, words = Path(sys.argv[1]), json.loads(sys.argv[2])
sys.exit(supervise(Local(2), lambda _: words, folder, Policy(save=20)))
"""


def _command(folder: Path, steps: int, *deeds: str) -> Callable[[int | None], list[str]]:
    words = [sys.executable, str(STAND_IN), str(folder), str(steps), *(word for d in deeds for word in ("--at", d))]
    return lambda checkpoint: words if checkpoint is None else [*words, "--resume", str(checkpoint)]


def _run(folder: Path, *deeds: str, steps: int = 30, site: Local | None = None, policy: Policy = POLICY) -> int:
    return supervise(site or Local(2), _command(folder, steps, *deeds), folder, policy)


def _names(folder: Path) -> list[str]:
    return [event["event"] for event in read_events(folder)]


def _event(folder: Path, name: str) -> dict[str, Any]:
    return next(event for event in read_events(folder) if event["event"] == name)


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))


@pytest.fixture
def started(run_dir: Path) -> Any:
    """A supervisor in a process of its own, once its two workers have done steps."""
    words = json.dumps(_command(run_dir, 10**6, "3:1:orphan")(None))
    process = subprocess.Popen([sys.executable, "-c", SUPERVISOR, str(run_dir), words], stderr=subprocess.DEVNULL)
    try:
        until(lambda: (run_dir / "launch.jsonl").exists() and "stepping" in _names(run_dir))
        until(lambda: newest_checkpoint(run_dir) and "child" in log_file(run_dir, 1).read_text())
        yield process
    finally:
        process.kill()
        process.wait()


def test_all_goes_well(run_dir: Path) -> None:
    assert _run(run_dir) == 0
    assert _names(run_dir) == ["started", "stepping", "finished"]
    for index in range(2):
        assert f"process {index} of 2 begins at step 0" in log_file(run_dir, index).read_text()


def test_a_killed_worker_ends_the_others_and_the_job_goes_on_from_its_checkpoint(run_dir: Path) -> None:
    assert _run(run_dir, "13:1:kill") == 0
    assert _names(run_dir) == ["started", "stepping", "lost", "waiting", "started", "stepping", "finished"]
    assert _event(run_dir, "lost")["why"] == "process 1 ended by SIGKILL"
    resumed = int(re.findall(r"process 1 of 2 begins at step (\d+)", log_file(run_dir, 1).read_text())[1])
    assert resumed == read_events(run_dir)[4]["step"]
    assert resumed >= 5
    assert newest_checkpoint(run_dir) == 30


def test_before_the_first_checkpoint_it_begins_anew(run_dir: Path) -> None:
    assert _run(run_dir, "2:0:fail") == 0
    assert log_file(run_dir, 0).read_text().count("begins at step 0") == 2


def test_elastic_goes_on_with_the_one_that_is_left(run_dir: Path) -> None:
    assert _run(run_dir, "13:1:kill", site=Local(2, minimum=1)) == 0
    assert "process 0 of 1 begins at step" in log_file(run_dir, 0).read_text()
    assert len(read_events(run_dir)[4]["pids"]) == 1


def test_never_with_fewer_than_the_minimum(run_dir: Path) -> None:
    assert _run(run_dir, "13:1:kill", site=Local(2, minimum=2)) == 0
    assert [len(event["pids"]) for event in read_events(run_dir) if event["event"] == "started"] == [2, 2]


def test_a_wrong_input_is_not_tried_again(run_dir: Path) -> None:
    assert _run(run_dir, "3:1:refuse") == 2
    assert _names(run_dir).count("started") == 1


def test_it_gives_up_where_no_progress_is_made(run_dir: Path) -> None:
    deeds = [f"1:0:{deed}" for deed in ("fail", "kill")] + ["2:1:fail", "2:1:kill", "2:0:fail"]
    assert _run(run_dir, *deeds, policy=Policy(restarts=2, first_delay=0.05, grace=2)) == 1
    assert _names(run_dir).count("started") == 3
    assert _names(run_dir)[-1] == "given up"


def test_a_hang_is_found_the_stacks_are_written_and_the_job_goes_on(run_dir: Path) -> None:
    assert _run(run_dir, "8:0:hang", "9:1:hang") == 0
    hung = _event(run_dir, "hung")
    assert "process 0 stands at step 7, process 1 stands at step 8" in hung["why"]
    for index in range(2):
        log = log_file(run_dir, index).read_text()
        assert "Current thread" in log
        assert "in _stand_still" in log
        assert "in _watch" in log  # each thread
    assert _names(run_dir)[2:] == ["hung", "waiting", "started", "stepping", "finished"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGHUP])
def test_told_to_stop_it_lets_the_workers_save_and_exits_75(
    started: subprocess.Popen[bytes], run_dir: Path, number: signal.Signals
) -> None:
    started.send_signal(number)
    assert started.wait(60) == 75
    assert _names(run_dir) == ["started", "stepping", "stopping", "stopped"]
    saved = re.search(r"saved as asked at step (\d+)", log_file(run_dir, 0).read_text())
    assert saved
    assert newest_checkpoint(run_dir) == int(saved[1])


def test_when_the_supervisor_is_killed_the_workers_and_what_they_started_are_gone(
    started: subprocess.Popen[bytes], run_dir: Path
) -> None:
    pids = _event(run_dir, "started")["pids"]
    child = int(log_file(run_dir, 1).read_text().split("child ")[1].split()[0])
    assert all(_runs(pid) for pid in (*pids, child))
    started.kill()
    started.wait()
    until(lambda: not any(_runs(pid) for pid in (*pids, child)))
    assert "the supervisor of this process is gone" in log_file(run_dir, 0).read_text()


def test_the_folder_of_a_running_job_is_refused_and_of_an_ended_one_is_not(run_dir: Path) -> None:
    with Events(run_dir), pytest.raises(InputError, match="another launch works in this folder"):
        _run(run_dir)
    assert _run(run_dir) == 0


def test_simulated_devices_and_cores_are_handed_to_each_process(run_dir: Path) -> None:
    show = "import os; print(os.environ['XLA_FLAGS'], sorted(os.sched_getaffinity(0)))"
    site = Local(2, devices=3, pin=True)
    assert supervise(site, lambda _: [sys.executable, "-c", show], run_dir, POLICY) == 0
    said = [log_file(run_dir, index).read_text() for index in range(2)]
    assert all("--xla_force_host_platform_device_count=3" in words for words in said)
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) > 1:
        assert str(cores[::2]) in said[0]
        assert str(cores[1::2]) in said[1]


def test_what_libraries_say_of_their_connections_is_not_shown(
    run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = log_file(run_dir, 0)
    log.parent.mkdir(parents=True)
    with Terminal(run_dir) as terminal:
        terminal.follow(log)
        log.write_text("[Gloo] Rank 0 is connected to 1 peer ranks.\n[1] a line\n")
    shown = capsys.readouterr().err
    assert "[1] a line" in shown
    assert "Gloo" not in shown


def test_a_program_that_is_not_there_is_named(run_dir: Path) -> None:
    with pytest.raises(InputError, match="no program 'no-such-program'"):
        supervise(Local(1), lambda _: ["no-such-program"], run_dir, POLICY)


def _runs(pid: int) -> bool:
    """Whether a process is there and no zombie (a child of a killed process is reaped by init, at its leisure)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
