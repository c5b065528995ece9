"""A SLURM for the whole run, a work folder for each test, and jobs that run stand-ins for launcher and worker."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from experiments.clusters import record, watch
from experiments.clusters.interface import Job, Status, Submitted
from experiments.clusters.table import CLUSTERS
from tests.clusters import virtual
from tests.processes import until

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@pytest.fixture(scope="session")
def slurm() -> Iterator[virtual.Slurm]:
    """SLURM runs, and its clients find it."""
    if reason := virtual.missing():
        pytest.skip(reason)
    with virtual.slurm() as started, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(started.conf))
        yield started


@pytest.fixture
def empty_queue(slurm: virtual.Slurm) -> Iterator[None]:
    """No job is left behind for the next test."""
    yield
    subprocess.run(["scancel", "--user=root"], check=True, timeout=30)
    slurm.until_idle()


@pytest.fixture
def open_mpi(monkeypatch: pytest.MonkeyPatch) -> None:
    """Open MPI is there, and talks over loopback alone."""
    if shutil.which("mpirun") is None:
        pytest.skip("not installed: mpirun (make test-clusters installs it on Debian)")
    monkeypatch.setenv("OMPI_MCA_oob_tcp_if_include", "lo")


@pytest.fixture(autouse=True)
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder of the test and of its jobs; a name that needs quoting."""
    folder = tmp_path / "it's a #folder, %j"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    return folder


def make_job(*command: str, **fields: object) -> Job:
    """A job in the current folder."""
    return Job(**{"name": "job", "command": list(command), "folder": "run", "workdir": os.getcwd()} | fields)


def launch(cluster: str, task: str, **fields: object) -> Job:
    """A job of stand-in workers, one process a node unless said otherwise."""
    processes = str(fields.get("processes_per_node", 1))
    worker = [sys.executable, str(HERE / "worker.py"), task]
    return make_job(sys.executable, str(HERE / "launcher.py"), cluster, processes, *worker, **fields)


def hand_in(cluster: str, job: Job) -> Submitted:
    """Submit a job and write it down."""
    return record.add(cluster, CLUSTERS[cluster].submit(job), job)


def ask(submitted: Submitted) -> list[Status]:
    """How every task stands."""
    return watch.statuses(CLUSTERS[submitted.cluster], submitted, submitted.task_ids())


def cancel(submitted: Submitted, *numbers: int) -> None:
    """End a job, or some tasks of an array."""
    tasks = submitted.task_ids()
    watch.cancel(CLUSTERS[submitted.cluster], submitted, [tasks[number] for number in numbers] or tasks)


def log(submitted: Submitted, task: str | None = None) -> str:
    """What a job has printed so far."""
    path = submitted.job.submit / f"{task or submitted.id}.log"
    return path.read_text() if path.exists() else ""


def until_ended(submitted: Submitted) -> list[Status]:
    """Wait for the end of every task."""
    until(
        lambda: all(each.final for each in ask(submitted)), lambda: f"{ask(submitted)}\n{log(submitted)}", seconds=300
    )
    return ask(submitted)


def until_workers(submitted: Submitted, starts: int = 1) -> dict[int, int]:
    """Wait until both workers have met, as often as they were started: the last process ids by their ranks."""
    until(
        lambda: log(submitted).count("the sum is 3") == 2 * starts,
        lambda: f"{ask(submitted)}\n{log(submitted)}",
        seconds=300,
    )
    return {int(rank): int(pid) for rank, pid in re.findall(r"process (\d) of 2, pid (\d+)", log(submitted))}


def gone(*pids: int) -> bool:
    """Whether none of the processes is there any more."""
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)
