"""Workers as SLURM jobs, one each, by dask-jobqueue."""

import logging
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.jobs.settings import PoolConfig
from experiments.jobs.slots import parse_size
from pnol_jax.errors import InputError


def slurm_cluster(settings: PoolConfig, security: Any, variables: Mapping[str, str], config: Mapping[str, Any]) -> Any:
    """A cluster that keeps so many worker jobs in the queue; one that ends is replaced.

    Raises:
        InputError: there is no sbatch, no memory is given, a path needs quotes, or SLURM refuses the job.
    """
    from dask_jobqueue.slurm import SLURMCluster

    if settings.memory is None:
        raise InputError("jobs.memory (--memory): got none, expected what each SLURM job asks for, such as 4GiB")
    parse_size(settings.memory)
    if shutil.which("sbatch") is None:
        raise InputError("jobs.where: got 'slurm', but there is no sbatch on this machine")
    slurm = settings.slurm
    logs = Path(slurm.logs).absolute()
    if shlex.quote(str(logs)) != str(logs) or "%" in str(logs):
        raise InputError(f"jobs.slurm.logs: got {logs}; expected a path that needs no quotes: dask-jobqueue sets none")
    logs.mkdir(parents=True, exist_ok=True)
    cluster = SLURMCluster(
        queue=slurm.partition,
        account=slurm.account,
        walltime=slurm.time,
        interface=slurm.interface,
        cores=1,
        processes=1,
        job_cpu=settings.threads,
        memory=settings.memory,
        job_name="pnol-jax",
        log_directory=str(logs),
        shared_temp_directory=str(logs),
        job_extra_directives=[*([f"--gres=gpu:{settings.devices}"] if settings.devices else []), *slurm.directives],
        job_script_prologue=_exports(variables, config),
        scheduler_options={"dashboard": settings.dashboard, "dashboard_address": "127.0.0.1:0"},
        worker_extra_args=["--no-dashboard"],
        silence_logs=logging.CRITICAL,
        security=security,
    )
    try:
        _check(cluster.job_script())  # type: ignore[no-untyped-call]
    except BaseException:
        cluster.close()
        raise
    cluster.adapt(minimum_jobs=settings.workers, maximum_jobs=settings.workers)
    return cluster


def _exports(variables: Mapping[str, str], config: Mapping[str, Any]) -> list[str]:
    """Shell lines that set environment variables, among them those that stand for dask's settings of workers."""
    names = {key: f"DASK_{key.upper().replace('.', '__').replace('-', '_')}" for key in config if ".worker." in key}
    of_dask = [f"export {name}={config[key]}" for key, name in names.items()]
    return [f"export {name}={value}" for name, value in variables.items()] + of_dask


def _check(script: str) -> None:
    """Ask SLURM whether it would take the job: dask-jobqueue would go on asking for ever."""
    done = subprocess.run(["sbatch", "--test-only"], input=script, capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError(f"jobs.slurm: SLURM refuses the workers' job: {done.stderr.strip()}")
