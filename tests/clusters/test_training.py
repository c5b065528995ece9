"""The real way: a config handed in, trained by the launcher on a real SLURM or Open MPI, asked for by the commands."""

import contextlib
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest

from experiments import submit
from experiments.clusters import record
from experiments.supervision.supervise import newest_checkpoint
from tests.clusters.conftest import ask, log
from tests.clusters.virtual import Slurm
from tests.processes import until
from tests.smoothing import BARE

RUN = Path("runs/smoothing")
CONFIG = BARE + "steps = 60\nlog_every = 1\ncheckpoint_every = 5\n"


@pytest.fixture(autouse=True)
def config(workdir: Path) -> None:
    """A config and its cases in the current folder."""
    a = np.random.default_rng(0).standard_normal((40, 24))
    np.savez(workdir / "train.npz", a=a, u=np.roll(a, 1, axis=1))
    (workdir / "smoothing.toml").write_text(CONFIG)


@pytest.fixture
def hand_in(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Submits by the command line; the id that it printed."""

    def call(*words: str) -> str:
        assert submit.main(["smoothing.toml", *words, "--", "--", "--no-report"]) == 0
        return capsys.readouterr().out.strip()

    return call


def _finish(job: str) -> None:
    """Wait for the job by the command; it has trained to the end."""
    assert submit.main(["wait", job]) == 0, _everything(job)
    assert (RUN / "model.safetensors").is_file()
    steps = [json.loads(line)["step"] for line in (RUN / "log.jsonl").read_text().splitlines()]
    assert sorted(set(steps)) == list(range(1, 61))


def _everything(job: str) -> str:
    submitted, _ = record.find(job)
    return "\n".join([str(ask(submitted)), log(submitted), *(path.read_text() for path in RUN.glob("logs/*"))])


def _until_saved(job: str) -> None:
    until(lambda: newest_checkpoint(RUN), lambda: _everything(job), seconds=300)


def _events() -> list[str]:
    return [json.loads(line)["event"] for line in (RUN / "launch.jsonl").read_text().splitlines()]


def _worker(rank: int) -> psutil.Process:
    """The training process of this rank, among those that work in the current folder."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            training = "experiments.train" in process.cmdline() and process.cwd() == os.getcwd()
            if training and process.environ().get("SLURM_PROCID") == str(rank):
                return process
    raise AssertionError(f"no worker {rank}")


@pytest.mark.usefixtures("empty_queue")
def test_two_nodes_train_together_and_recover_from_a_killed_worker(hand_in: Callable[..., str]) -> None:
    job = hand_in("--cluster", "slurm", "--nodes", "2")
    _until_saved(job)
    _worker(1).kill()
    _finish(job)
    assert _events().count("lost") == 1
    assert _events()[-1] == "finished"


@pytest.mark.usefixtures("empty_queue")
def test_a_preempted_job_saves_and_goes_on_when_it_is_started_again(hand_in: Callable[..., str]) -> None:
    job = hand_in("--cluster", "slurm", "--nodes", "2", "--requeue", "1")
    _until_saved(job)
    subprocess.run(["scancel", "--batch", "--signal=USR1", job], check=True, timeout=30)
    _finish(job)
    assert ask(record.find(job)[0])[0].restarts == 1
    assert [event for event in _events() if event in ("started", "stopped", "finished")] == [
        *("started", "stopped"),
        *("started", "finished"),
    ]


@pytest.mark.usefixtures("empty_queue")
def test_a_lost_node_leaves_the_job_to_the_others(slurm: Slurm, hand_in: Callable[..., str]) -> None:
    job = hand_in("--cluster", "slurm", "--nodes", "2", "--elastic")
    _until_saved(job)
    slurm.lose("node-b")
    try:
        _finish(job)
    finally:
        slurm.start("node-b")
    (status,) = ask(record.find(job)[0])
    assert (status.restarts, status.where) == (0, "node-a")
    assert _events().count("lost") == 1


@pytest.mark.usefixtures("open_mpi")
def test_two_processes_of_open_mpi_train_together(hand_in: Callable[..., str]) -> None:
    _finish(hand_in("--cluster", "mpi", "--processes-per-node", "2"))
