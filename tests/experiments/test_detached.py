"""Jobs without a queue: they outlive the one that started them, and what the record says of them is true."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import psutil
import pytest

from experiments import submit
from experiments.clusters import board, detached, local, processes, record
from experiments.clusters.interface import Job, Status, Submitted
from experiments.clusters.watch import wait
from pnol_jax.errors import InputError
from tests.processes import until

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The current folder of the test and of its jobs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def _job(*command: str, **fields: object) -> Job:
    return Job(**{"name": "job", "command": list(command), "folder": "run", "workdir": os.getcwd()} | fields)


def _bash(text: str, **fields: object) -> Submitted:
    return _hand_in(_job("bash", "-c", text, **fields))


def _hand_in(job: Job) -> Submitted:
    return record.add("local", local.submit(job), job)


def _wait(submitted: Submitted) -> list[Status]:
    return wait(local, submitted, submitted.task_ids(), lambda _: None)


def _log(submitted: Submitted, task: str | None = None) -> str:
    return "".join(local.logs(submitted, task or submitted.id, follow=False))


def _until_it_says(submitted: Submitted, text: str) -> None:
    path = submitted.job.submit / f"{submitted.id}.log"
    until(lambda: path.exists() and text in path.read_text(), seconds=60)


def _supervisor(submitted: Submitted) -> psutil.Process:
    found = processes.find(board.read(detached.folder_of(submitted)).supervisor)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("text", "state", "code"),
    [
        ("exit 0", "done", 0),
        ("exit 3", "failed", 3),
        ("kill -KILL $$", "failed", 137),
        ("kill -SEGV $$", "failed", 139),
    ],
)
def test_the_end_of_a_job_is_told_as_it_was(text: str, state: str, code: int) -> None:
    (status,) = _wait(_bash(f"echo out; echo err >&2; {text}"))
    assert (status.state, status.exit) == (state, code)


def test_a_job_outlives_the_process_that_handed_it_in() -> None:
    program = (
        "import os; from experiments.clusters import local, record; from experiments.clusters.interface import Job;"
        "job = Job(name='job', command=['bash', '-c', 'sleep 1; echo done'], folder='run', workdir=os.getcwd());"
        "record.add('local', local.submit(job), job)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
    (submitted,) = record.everything()
    assert _wait(submitted)[0].state == "done"
    assert _log(submitted) == "done\n"


def test_words_and_variables_arrive_as_they_were_given() -> None:
    odd = ["a b", "it's", '"', "$HOME", "*", "", "\\", "a\nb"]
    program = "import os, sys; print([*sys.argv[1:], os.environ['ODD']])"
    submitted = _hand_in(_job(sys.executable, "-c", program, *odd, environment={"ODD": "$(x) 'y'"}))
    _wait(submitted)
    assert _log(submitted) == f"{[*odd, '$(x) ' + repr('y')]}\n"


def test_tasks_run_one_after_the_other_each_with_its_words() -> None:
    program = (
        "from time import monotonic as now, sleep; import sys; a = now(); sleep(0.2); print(sys.argv[1], a, now())"
    )
    submitted = _hand_in(_job(sys.executable, "-c", program, tasks=[["x"], ["y"], ["z"]]))
    assert [status.state for status in _wait(submitted)] == ["done"] * 3
    rows = [_log(submitted, task).split() for task in submitted.task_ids()]
    assert [word for word, *_ in rows] == ["x", "y", "z"]
    times = [float(number) for _, *numbers in rows for number in numbers]
    assert times == sorted(times)


def test_before_its_time_is_up_a_job_saves_and_is_started_again() -> None:
    text = "trap 'echo saved; exit 75' USR1; echo began; while :; do sleep 0.05; done"
    submitted = _bash(text, time="4s", signal_before=3, requeue=1)
    (status,) = _wait(submitted)
    assert (status.state, status.exit, status.restarts) == ("failed", 75, 1)
    assert _log(submitted) == "began\nsaved\n" * 2


def test_a_job_that_does_not_stop_in_time_is_ended() -> None:
    submitted = _bash("trap '' USR1; sleep 600", time="2s", signal_before=1)
    (status,) = _wait(submitted)
    assert (status.state, status.exit, status.restarts) == ("out of time", 128 + signal.SIGTERM, 0)


def test_a_job_waits_for_another_and_is_given_up_if_that_fails() -> None:
    first = _bash("sleep 0.5; echo 1 > first")
    second = _bash("cat first", after=[first.id])
    assert _wait(second)[0].state == "done"
    assert _log(second) == "1\n"
    never = _bash("echo never", after=[_bash("exit 1").id])
    assert _wait(never)[0].state == "cancelled"
    assert "had to succeed" in _wait(never)[0].detail
    with pytest.raises(InputError, match="no job 'local-000000'"):
        _bash("true", after=["local-000000"])


def test_a_job_that_has_ended_is_not_cancelled_and_that_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    submitted = _bash("exit 0")
    _wait(submitted)
    assert submit.main(["cancel", submitted.id]) == 0
    assert f"{submitted.id} had ended before: done" in capsys.readouterr().err
    assert not list(submitted.job.submit.glob("*.cancelled"))


def test_cancel_ends_a_job_and_all_that_it_started() -> None:
    submitted = _bash("sleep 600 & sleep 600 & echo ready; wait", tasks=[["a"], ["b"]])
    path = submitted.job.submit / f"{submitted.id}_0.log"
    until(lambda: path.exists() and "ready" in path.read_text(), seconds=60)
    family = processes.kin(_supervisor(submitted))
    assert len(family) == 4
    assert submit.main(["cancel", submitted.id]) == 0
    assert [status.state for status in _wait(submitted)] == ["cancelled", "cancelled"]
    assert psutil.wait_procs(family, 20)[1] == []


def test_a_process_that_does_not_heed_sigterm_is_killed_with_its_own() -> None:
    text = "trap '' TERM; bash -c 'trap \"\" TERM; sleep 600' & echo ready; wait; sleep 600"
    process = psutil.Popen(["bash", "-c", text], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    until(lambda: len(processes.kin(process)) == 2, seconds=60)
    family = processes.kin(process)
    processes.end(process, 0.2)
    assert psutil.wait_procs(family, 20)[1] == []


def test_a_job_whose_supervisor_was_killed_is_over_and_can_still_be_ended() -> None:
    submitted = _bash("echo ready; exec sleep 600")
    until(
        lambda: board.read(detached.folder_of(submitted)).tasks[submitted.id].process, seconds=60
    )  # which it may outrun
    supervisor = _supervisor(submitted)
    (child,) = supervisor.children()
    supervisor.kill()
    supervisor.wait(20)
    (status,) = _wait(submitted)
    assert status.state == "failed"
    assert f"process {child.pid} still runs" in status.detail
    assert submit.main(["cancel", submitted.id]) == 0
    until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, seconds=60)


def test_a_process_that_got_the_number_of_another_is_not_taken_for_it() -> None:
    me = processes.identify(os.getpid())
    assert processes.find(me) == psutil.Process()
    assert processes.find(msgspec.structs.replace(me, started=me.started - 60)) is None
    with pytest.raises(InputError, match="is on elsewhere"):
        processes.find(msgspec.structs.replace(me, host="elsewhere"))


def test_what_a_job_still_prints_is_followed_to_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    submitted = _bash(
        "for i in 1 2 3; do echo $i; sleep 0.4; done; printf 'ä' | head -c 1; sleep 0.7; printf 'ä' | tail -c 1"
    )
    assert submit.main(["logs", submitted.id, "--follow"]) == 0
    assert capsys.readouterr().out == "1\n2\n3\nä"


def test_the_commands_tell_of_a_job(capsys: pytest.CaptureFixture[str]) -> None:
    assert submit.main(["history"]) == 0
    assert capsys.readouterr().out == "no job was submitted yet\n"
    good, bad = _bash("echo hello"), _bash("exit 4")
    assert submit.main(["wait", good.id]) == 0
    assert submit.main(["wait", bad.id]) == 1
    capsys.readouterr()
    submit.main(["status", bad.id])
    assert capsys.readouterr().out.split()[-5:-1] == [bad.id, "failed", "4", "0"]
    submit.main(["history"])
    lines = capsys.readouterr().out.splitlines()[-2:]
    assert [line.split()[2] for line in lines] == [good.id, bad.id]
    assert [line.split("run")[1].split() for line in lines] == [["1", "done"], ["1", "failed"]]
    submit.main(["logs", good.id])
    assert capsys.readouterr().out == "hello\n"


def test_a_damaged_line_of_the_record_is_named() -> None:
    _bash("true")
    with record.RECORD.open("a") as file:
        file.write('{"cluster": "local"\n')
    with pytest.raises(InputError, match=r"submitted\.jsonl, line 2"):
        record.find("local-000000")


def test_two_that_write_the_record_at_once_lose_nothing(tmp_path: Path) -> None:
    program = (
        "import sys; from experiments.clusters import record; from experiments.clusters.interface import Job\n"
        "job = Job(name='job', command=['x' * 3000], folder='run', workdir='.')\n"
        "for i in range(20): record.add('local', f'{sys.argv[1]}-{i}', job)"
    )
    both = [subprocess.Popen([sys.executable, "-c", program, name]) for name in ("a", "b")]
    assert [process.wait(120) for process in both] == [0, 0]
    assert {submitted.id for submitted in record.everything()} == {f"{name}-{i}" for name in "ab" for i in range(20)}
