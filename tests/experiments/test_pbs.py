"""PBS' script says what was asked for; its commands, against a stand-in that runs the script on this machine."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from experiments import submit
from experiments.clusters import pbs, record, watch
from experiments.clusters.interface import Job, Status, Submitted
from experiments.supervision import nodes
from pnol_jax.errors import InputError
from tests.experiments.test_submit import CONFIG
from tests.experiments.test_train import CONFIG as TRAINING
from tests.experiments.test_train import _cases
from tests.processes import until

STAND_IN = Path(__file__).parent / "pbs_stand_in.py"
SAVING = "trap 'echo saved; exit 75' USR1; trap 'echo told; exit 75' TERM; echo on; while :; do sleep 0.1; done"


def make_job(*command: str, **fields: object) -> Job:
    given = {"name": "job", "command": list(command) or ["true"], "folder": "a run", "workdir": os.getcwd()}
    return Job(**given | fields)


def directives(script: str) -> list[str]:
    return [line.removeprefix("#PBS ") for line in script.splitlines() if line.startswith("#PBS ")]


@pytest.fixture(autouse=True)
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The commands on PATH; the folder of what they keep. No job is left behind."""
    commands, kept = tmp_path / "bin", tmp_path / "server"
    commands.mkdir()
    kept.mkdir()
    for name in ("qsub", "qstat", "qdel", "qsig", "qrerun"):
        path = commands / name
        path.write_text(f'#!/bin/sh\nexec {sys.executable} {STAND_IN} {name} "$@"\n')
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}:{os.environ['PATH']}")
    monkeypatch.setenv("PBS_STAND_IN", str(kept))
    monkeypatch.chdir(tmp_path)
    yield kept
    (kept / "forgetful").unlink(missing_ok=True)
    for path in kept.glob("*.json"):
        subprocess.run(["qdel", path.stem], capture_output=True, check=False)
    until(lambda: not going(kept), lambda: going(kept), seconds=120)


def going(kept: Path) -> list[str]:
    return [path.stem for path in kept.glob("*.json") if json.loads(path.read_text())["job_state"] not in "FX"]


def hand_in(job: Job) -> Submitted:
    return record.add("pbs", pbs.submit(job), job)


def ask(submitted: Submitted) -> list[Status]:
    return watch.statuses(pbs, submitted, submitted.task_ids())


def log(submitted: Submitted, number: int = 0) -> str:
    path = submitted.job.submit / f"{pbs._own(submitted, submitted.task_ids()[number])}.log"
    return path.read_text() if path.exists() else ""


def until_ended(submitted: Submitted) -> list[Status]:
    until(
        lambda: all(status.final for status in ask(submitted)),
        lambda: f"{ask(submitted)}\n{log(submitted)}",
        seconds=120,
    )
    return ask(submitted)


def test_pbs_is_asked_for_what_the_flags_say(capsys: pytest.CaptureFixture[str]) -> None:
    Path("small.toml").write_text(CONFIG)
    flags = "--nodes 2 --processes-per-node 4 --devices-per-node 4 --cpus-per-process 8 --memory 64G --time 90m"
    more = "--queue gpu --account phys --requeue 2 --after 7.server --after 8[].server --array 0-3 --at-once 2"
    words = ["small.toml", "--cluster", "pbs", *flags.split(), *more.split(), "--options=-m n", "--dry-run"]
    assert submit.main(words) == 0
    script = capsys.readouterr().out
    assert directives(script) == [
        "-N small",
        "-S /bin/bash -j oe -o /dev/null",
        "-l select=2:ncpus=32:mpiprocs=4:ngpus=4:mem=64gb -l place=scatter",
        "-l walltime=5400",
        "-q gpu",
        "-A phys",
        "-J 0-3%2",
        "-W depend=afterok:7.server:8[].server",
        "-r y",
        "-m n",
    ]
    assert "--cluster mpi --processes 8 training.seed=2" not in script  # the words of a task come behind the command
    assert "-m experiments.launch small.toml --cluster mpi --processes 8)" in script
    assert "-m experiments.clusters.pbs" in script.splitlines()[-1]
    assert f"{Path.cwd()}/runs/small/submit 2 5310 " in script.splitlines()[-1]  # told 90 seconds before the time is up


def test_a_job_of_one_node_needs_no_mpirun_and_an_array_of_one_rises() -> None:
    job = make_job(tasks=[["a"]], requeue=0)
    assert pbs.launch_words(job) == ["--cluster", "local", "--processes", "1"]
    assert "-J 0-1:2" in directives(pbs.script(job))
    assert directives(pbs.script(make_job(requeue=0)))[-1] == "-r n"


@pytest.mark.parametrize("field", ["hosts", "image", "claim", "namespace", "elastic"])
def test_what_pbs_has_no_place_for_is_refused(field: str) -> None:
    given: object = {"hosts": ["a"], "elastic": True}.get(field, "a")
    with pytest.raises(InputError, match=f"{field}: PBS has no such thing"):
        pbs.script(make_job(**{field: given}))


def test_the_nodes_of_a_job_are_those_of_its_file(tmp_path: Path) -> None:
    file = tmp_path / "nodes"
    file.write_text("a\na\nb\n")
    assert nodes.find_nodes("mpi", {"PBS_NODEFILE": str(file), "PBS_JOBID": "7.server"}) == ["a", "b"]


def test_how_a_job_ends_is_told_as_it_was_also_when_pbs_has_forgotten_it(server: Path) -> None:
    ends = {"done": "echo hello", "failed": "exit 3", "cancelled": SAVING}
    jobs = {state: hand_in(make_job("bash", "-c", command)) for state, command in ends.items()}
    until(lambda: log(jobs["cancelled"]) == "on\n", lambda: ask(jobs["cancelled"]), seconds=120)
    watch.cancel(pbs, jobs["cancelled"], jobs["cancelled"].task_ids())
    found = {state: until_ended(submitted)[0] for state, submitted in jobs.items()}
    assert {state: status.state for state, status in found.items()} == {state: state for state in ends}
    assert found["failed"].exit == 3
    assert "".join(pbs.logs(jobs["done"], jobs["done"].id, follow=True)) == "hello\n"
    assert "told" in log(jobs["cancelled"])
    watch.cancel(pbs, jobs["done"], jobs["done"].task_ids())  # which stays as it is
    (server / "forgetful").touch()
    assert {state: ask(submitted)[0].state for state, submitted in jobs.items()} == {state: state for state in ends}


def test_tasks_of_an_array_run_each_with_its_own_words_and_are_cancelled_alone() -> None:
    submitted = hand_in(make_job("bash", "-c", 'echo "$1"; sleep "$2"', "-", tasks=[["a b", "0"], ["$HOME", "600"]]))
    assert submitted.id == "1[].stand"
    until(lambda: log(submitted, 1) == "$HOME\n", lambda: ask(submitted), seconds=120)
    assert ask(submitted)[1].where == "node-a,node-b"
    watch.cancel(pbs, submitted, ["1[].stand_1"])
    assert [status.state for status in until_ended(submitted)] == ["done", "cancelled"]
    assert log(submitted) == "a b\n"


def test_a_job_is_told_before_its_time_is_up_and_put_back_as_often_as_it_may() -> None:
    submitted = hand_in(make_job("bash", "-c", SAVING, time="100s", signal_before=96, requeue=1))
    (status,) = until_ended(submitted)
    assert (status.state, status.exit, status.restarts) == ("failed", 75, 1), log(submitted)
    assert log(submitted).split() == ["on", "saved"] * 2


def test_qsig_reaches_the_command_and_where_qrerun_is_refused_the_log_says_so(server: Path) -> None:
    (server / "operators").touch()
    submitted = hand_in(make_job("bash", "-c", SAVING))
    until(lambda: log(submitted) == "on\n", lambda: ask(submitted), seconds=120)
    subprocess.run(["qsig", "-s", "SIGUSR1", submitted.id], check=True)
    (status,) = until_ended(submitted)
    assert (status.state, status.exit, status.restarts) == ("failed", 75, 0)
    assert "saved" in log(submitted)
    assert "not put back into the queue: qrerun: qrerun: Unauthorized Request" in log(submitted)


def test_what_outlives_its_time_is_ended_and_not_put_back() -> None:
    submitted = hand_in(make_job("bash", "-c", SAVING, time="5s", signal_before=0))
    (status,) = until_ended(submitted)
    assert (status.state, status.restarts) == ("out of time", 0), log(submitted)
    assert "told" in log(submitted)


def test_a_dependency_waits_and_is_given_up_when_it_cannot_be_met() -> None:
    first = hand_in(make_job("sleep", "1"))
    second = hand_in(make_job("echo", "second", after=[first.id]))
    assert ask(second)[0].state == "waiting"
    assert until_ended(second)[0].state == "done"
    failing = hand_in(make_job("false"))
    assert until_ended(hand_in(make_job("echo", "never", after=[failing.id])))[0].state == "cancelled"


def test_a_refusal_is_one_line_and_a_job_that_pbs_never_knew_is_unknown() -> None:
    with pytest.raises(InputError, match=r"^qsub: qsub: Unknown queue$"):
        pbs.submit(make_job(queue="nowhere"))
    (status,) = ask(Submitted(cluster="pbs", id="99.stand", when="", job=make_job()))
    assert (status.state, status.detail) == ("unknown", "PBS knows it no more, and it left no outcome")


@pytest.mark.slow
def test_a_training_is_handed_in_and_launched_in_its_job(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _cases(tmp_path)
    Path("smoothing.toml").write_text(TRAINING.format(folder=tmp_path, steps=10))
    words = ["smoothing.toml", "--cluster", "pbs", "--processes-per-node", "2", "--run", "runs/here"]
    assert submit.main([*words, "--", "--", "--no-report"]) == 0
    submitted, _ = record.find(capsys.readouterr().out.strip())
    (status,) = until_ended(submitted)
    assert status.state == "done", log(submitted)
    assert json.loads(Path("runs/here/log.jsonl").read_text().splitlines()[-1])["step"] == 10
