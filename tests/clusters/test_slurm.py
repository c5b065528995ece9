"""A real SLURM of two nodes: what is handed in runs, on both, and its end is told as it was."""

import os
import signal
import subprocess
import sys

import pytest

from experiments.clusters import batch, slurm
from experiments.clusters.interface import Submitted
from pnol_jax.errors import InputError
from tests.clusters.conftest import (
    ask,
    cancel,
    gone,
    hand_in,
    launch,
    log,
    make_job,
    until_ended,
    until_workers,
)
from tests.processes import until

pytestmark = pytest.mark.usefixtures("empty_queue")


def test_two_nodes_find_each_other_by_jax_distributed() -> None:
    submitted = hand_in("slurm", launch("slurm", "sum", nodes=2))
    (status,) = until_ended(submitted)
    assert (status.state, status.exit, status.where) == ("done", 0, "node-a,node-b"), log(submitted)
    assert log(submitted).count("the sum is 3") == 2


def test_a_killed_worker_ends_the_others_and_fails_the_job() -> None:
    submitted = hand_in("slurm", launch("slurm", "stay", nodes=2))
    pids = until_workers(submitted)
    os.kill(pids[1], signal.SIGKILL)
    (status,) = until_ended(submitted)
    assert (status.state, status.exit) == ("failed", 128 + signal.SIGKILL), log(submitted)
    assert gone(*pids.values())


def test_preemption_saves_and_puts_back_into_the_queue() -> None:
    submitted = hand_in("slurm", launch("slurm", "stay", nodes=2, requeue=1))
    until_workers(submitted)
    subprocess.run(["scancel", "--batch", "--signal=USR1", submitted.id], check=True, timeout=30)
    until_workers(submitted, starts=2)
    assert log(submitted).count("saved") == 2
    assert [(status.state, status.restarts) for status in ask(submitted)] == [("running", 1)]
    subprocess.run(["scancel", "--batch", "--signal=USR1", submitted.id], check=True, timeout=30)
    (status,) = until_ended(submitted)  # it may be put back once only
    assert (status.state, status.exit, status.restarts) == ("failed", 75, 1)


def test_before_its_time_is_up_a_job_saves_and_is_put_back_into_the_queue() -> None:
    submitted = hand_in("slurm", launch("slurm", "stay", nodes=2, time="1m", signal_before=15))
    until_workers(submitted)
    until(lambda: ask(submitted)[0].restarts == 1, lambda: f"{ask(submitted)}\n{log(submitted)}", seconds=300)
    assert log(submitted).count("saved") == 2
    cancel(submitted)
    assert until_ended(submitted)[0].state == "cancelled"


def test_tasks_of_an_array_run_each_with_its_own_words() -> None:
    tasks = [["zero"], ["a b"], ["$HOME"]]
    submitted = hand_in("slurm", make_job("printf", "%s:%s\n", "got", tasks=tasks, at_once=1))
    assert [status.state for status in until_ended(submitted)] == ["done"] * 3
    assert [log(submitted, task) for task in submitted.task_ids()] == ["got:zero\n", "got:a b\n", "got:$HOME\n"]


def test_one_task_of_an_array_is_cancelled_alone() -> None:
    submitted = hand_in("slurm", make_job("sleep", tasks=[["0"], ["600"], ["1"]]))
    until(lambda: ask(submitted)[1].state == "running", lambda: ask(submitted), seconds=300)
    cancel(submitted, 1)
    assert [status.state for status in until_ended(submitted)] == ["done", "cancelled", "done"]


def test_a_long_array_is_told_task_by_task_while_it_waits() -> None:
    tasks = [[str(number)] for number in range(60)]
    before = hand_in("slurm", make_job("sleep", "600"))
    submitted = hand_in("slurm", make_job("echo", tasks=tasks, after=[before.id]))
    cancel(submitted, *range(0, 60, 2))
    assert [status.state for status in ask(submitted)] == ["cancelled", "waiting"] * 30
    cancel(before)
    assert {status.state for status in until_ended(submitted)} == {"cancelled"}


def test_a_dependency_waits_and_is_given_up_when_it_cannot_be_met() -> None:
    first = hand_in("slurm", make_job("sleep", "2"))
    second = hand_in("slurm", make_job("echo", "second", after=[first.id]))
    assert ask(second)[0].state == "waiting"
    assert until_ended(second)[0].state == "done"
    assert ask(first)[0].state == "done"
    failing = hand_in("slurm", make_job("false"))
    never = hand_in("slurm", make_job("echo", "never", after=[failing.id]))
    assert until_ended(never)[0].state == "cancelled"
    assert log(never) == ""


def test_cancel_does_not_requeue_a_command_that_would_go_on() -> None:
    stubborn = "trap 'exit 75' TERM; echo ready; while :; do sleep 0.1; done"
    submitted = hand_in("slurm", make_job("bash", "-c", stubborn))
    until(lambda: log(submitted) == "ready\n", lambda: ask(submitted), seconds=300)
    cancel(submitted)
    (status,) = until_ended(submitted)
    assert (status.state, status.restarts) == ("cancelled", 0), log(submitted)


def test_how_a_job_ended_is_known_when_slurm_has_forgotten_it() -> None:
    ends = {
        "done": "exit 0",
        "failed": "exit 3",
        "cancelled": "trap 'exit 75' TERM; echo on; while :; do sleep 0.1; done",
    }
    jobs = {state: hand_in("slurm", make_job("bash", "-c", command)) for state, command in ends.items()}
    until(lambda: log(jobs["cancelled"]) == "on\n", lambda: ask(jobs["cancelled"]), seconds=300)
    cancel(jobs["cancelled"])
    for state, submitted in jobs.items():
        assert until_ended(submitted)[0].state == state
        path = submitted.job.submit / f"{submitted.id}.outcome"
        until(path.is_file, lambda: "its outcome", seconds=300)
        assert batch.left("SLURM", path, submitted.id).state == state, path.read_bytes()


def test_a_refusal_is_one_line_of_slurms_own_words() -> None:
    with pytest.raises(InputError, match=r"sbatch: .*invalid partition"):
        slurm.submit(make_job("true", queue="nowhere"))
    with pytest.raises(InputError, match=r"sbatch: .*Memory specification can not be satisfied"):
        slurm.submit(make_job("true", memory="999T"))


def test_a_job_that_slurm_never_knew_is_unknown() -> None:
    submitted = Submitted(cluster="slurm", id="99999", when="", job=make_job("true"))
    (status,) = ask(submitted)
    assert status.state == "unknown"


def test_workers_run_on_the_nodes_that_are_left() -> None:
    words = slurm.worker_command.__module__
    program = (
        f"from {words} import worker_command as w; import os; c = w(['printenv', 'SLURMD_NODENAME'], ['node-b'], 2); "
    )
    submitted = hand_in(
        "slurm", make_job(sys.executable, "-c", program + "os.execvp(c[0], c)", nodes=2, processes_per_node=2)
    )
    assert until_ended(submitted)[0].state == "done", log(submitted)
    assert sorted(log(submitted).splitlines()) == ["0: node-b", "1: node-b"]
