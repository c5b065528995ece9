"""A real Open MPI: two processes find each other, save when told to, and end together."""

import os
import signal
from pathlib import Path

import pytest

from experiments.clusters import mpi
from tests.clusters.conftest import ask, cancel, gone, hand_in, launch, log, make_job, until_ended, until_workers
from tests.processes import until

pytestmark = pytest.mark.usefixtures("open_mpi")


def test_two_processes_find_each_other_by_jax_distributed() -> None:
    submitted = hand_in("mpi", launch("mpi", "sum", processes_per_node=2))
    (status,) = until_ended(submitted)
    assert (status.state, status.exit) == ("done", 0), log(submitted)
    assert log(submitted).count("the sum is 3") == 2


def test_a_killed_worker_ends_the_other_and_fails_the_job() -> None:
    submitted = hand_in("mpi", launch("mpi", "stay", processes_per_node=2))
    pids = until_workers(submitted)
    os.kill(pids[1], signal.SIGKILL)
    (status,) = until_ended(submitted)
    assert (status.state, status.exit) == ("failed", 128 + signal.SIGKILL), log(submitted)
    until(lambda: gone(*pids.values()), lambda: pids, seconds=300)


def test_before_its_time_is_up_a_job_saves_and_is_started_again() -> None:
    submitted = hand_in("mpi", launch("mpi", "stay", processes_per_node=2, time="35s", signal_before=10, requeue=1))
    until_workers(submitted, starts=2)
    assert log(submitted).count("saved") == 2
    assert [(status.state, status.restarts) for status in ask(submitted)] == [("running", 1)]
    (status,) = until_ended(submitted)  # it may be started again once only
    assert (status.state, status.exit, status.restarts) == ("failed", 75, 1)
    assert log(submitted).count("saved") == 4


def test_cancel_ends_every_process() -> None:
    submitted = hand_in("mpi", launch("mpi", "stay", processes_per_node=2))
    pids = until_workers(submitted)
    cancel(submitted)
    assert until_ended(submitted)[0].state == "cancelled"
    until(lambda: gone(*pids.values()), lambda: pids, seconds=300)


def test_workers_run_on_the_named_hosts_unbound_and_with_the_variables_of_libraries(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XLA_FLAGS", "--some=a b")
    program = "import os; print(len(os.sched_getaffinity(0)) == os.cpu_count(), os.environ['XLA_FLAGS'])"
    submitted = hand_in("mpi", make_job(*mpi.worker_command(["python3", "-c", program], ["localhost"], 3)))
    assert until_ended(submitted)[0].state == "done", log(submitted)
    assert log(submitted) == "True --some=a b\n" * 3


def test_a_worker_that_writes_elsewhere_keeps_its_input() -> None:
    program = "exec >own.log 2>&1; read word; echo $word"
    words = mpi.worker_command(["sh", "-c", program], None, 1)
    submitted = hand_in("mpi", make_job("sh", "-c", '(sleep 2; echo heard) | "$@"', "sh", *words))
    assert until_ended(submitted)[0].state == "done", log(submitted)
    assert Path("own.log").read_text() == "heard\n"
