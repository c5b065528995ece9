"""Workers as jobs of a real SLURM of two nodes on this host: the same pool, and a job that is cancelled is replaced."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiments.jobs import PoolConfig, SlurmConfig, open_pool
from pnol_jax.errors import InputError


@pytest.fixture
def plain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose name needs no quoting: dask-jobqueue quotes nothing."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def settings(empty_queue: None, plain: Path) -> PoolConfig:
    return PoolConfig("slurm", workers=2, memory="400MB", slurm=SlurmConfig(interface="lo", time="00:05:00"))


def where(mark: Path, cancelled: int) -> tuple[str, str, str, str]:
    """The job and node that a task runs on, and its settings; the first so many calls cancel their job."""
    import dask

    with mark.open("a") as file:
        file.write("x")
    if len(mark.read_text()) <= cancelled:
        subprocess.run(["scancel", os.environ["SLURM_JOB_ID"]], check=True)
        time.sleep(60)  # until the job's end takes this process
    pause = str(dask.config.get("distributed.worker.memory.pause"))
    return os.environ["SLURM_JOB_ID"], os.environ["SLURMD_NODENAME"], os.environ["OMP_NUM_THREADS"], pause


def test_tasks_run_in_jobs_and_one_whose_job_is_cancelled_runs_again(settings: PoolConfig, plain: Path) -> None:
    with open_pool(settings) as pool:
        pool.submit(where, plain / "cancelled", 1, name="cancelled")
        for number in range(3):
            pool.submit(where, plain / str(number), 0, name=str(number))
        found = {outcome.name: outcome for outcome in pool.completed()}
    assert not pool.failed
    assert len((plain / "cancelled").read_text()) == 2
    for outcome in found.values():
        assert outcome.value[1] in ("node-a", "node-b")
        assert outcome.value[2:] == ("1", "False")
    queue = subprocess.run(["squeue", "--noheader"], capture_output=True, text=True, check=True).stdout
    assert "pnol-jax" not in [line.split()[2] for line in queue.splitlines() if " CG " not in line]


def test_a_job_that_slurm_refuses_is_refused_with_its_words(settings: PoolConfig) -> None:
    wrong = PoolConfig("slurm", memory="400MB", slurm=SlurmConfig(partition="nowhere", interface="lo"))
    with pytest.raises(InputError, match=r"SLURM refuses the workers' job: .*partition"), open_pool(wrong):
        pass


def test_a_folder_that_needs_quotes_is_refused(
    settings: PoolConfig, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workdir)
    with (
        pytest.raises(InputError, match=r"slurm.logs: got .*expected a path that needs no quotes"),
        open_pool(settings),
    ):
        pass


def test_a_data_set_is_the_same_when_slurm_makes_it(settings: PoolConfig, plain: Path) -> None:
    words = [
        sys.executable,
        "-m",
        "experiments.simulate",
        "darcy",
        "--cases",
        "12",
        "--points",
        "9",
        "--shard-size",
        "2",
    ]
    (plain / "jobs.toml").write_text('[slurm]\ninterface = "lo"\ntime = "00:05:00"\n')
    flags = ["--where", "slurm", "--workers", "2", "--memory", "900MB", "--jobs", "jobs.toml"]
    for name, more in (("here", []), ("slurm", flags)):
        subprocess.run([*words, "--out", name, *more], check=True, timeout=300)
    held = [
        {file.relative_to(plain / name): file.read_bytes() for file in (plain / name).rglob("*.*")}
        for name in ("here", "slurm")
    ]
    assert held[0] == held[1]
