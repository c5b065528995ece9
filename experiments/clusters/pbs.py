"""PBS Professional and OpenPBS: qsub, qstat, qdel; workers by mpirun on the hosts of PBS_NODEFILE.

PBS tells no job that its time is nearly up: the batch process does (`batch.py`), by SIGUSR1. Processes that PBS ends
get SIGTERM, and SIGKILL after the site's kill_delay; what mpirun has started saves at SIGUSR1 only. A command that
ends with status 75 is put back by qrerun, which PBS keeps to operators: where it is refused the log says so, and the
same job handed in again goes on from its last checkpoint, as does one that PBS requeues by itself (-r y).
Written by the manual pages of OpenPBS, and tested against a stand-in for its commands, not against a real PBS.
"""

import os
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from experiments.clusters import batch, shell, tail
from experiments.clusters.durations import seconds
from experiments.clusters.external import call
from experiments.clusters.interface import Job, Request, State, Status, Submitted, refuse
from experiments.clusters.mpi import worker_command
from pnol_jax.errors import InputError
from pnol_jax.files import write_atomically

__all__ = ["cancel", "launch_words", "logs", "script", "status", "submit", "worker_command"]

DELETED, OUT_OF_TIME, SIGNALLED = 91, -29, 256  # a substate, an exit status, and where those of signals begin


def script(job: Job) -> str:
    """The batch script."""
    refuse(job, "PBS", ("hosts", "image", "claim", "namespace", "elastic"))
    directives = "\n".join(f"#PBS {option}" for option in _options(job))
    log = f'exec >>{shlex.quote(str(job.submit))}/"$PBS_JOBID.log" 2>&1  # PBS shows its own log at the end only'
    notice = seconds(job.time) - job.signal_before if job.time and job.signal_before else 0
    lines = [log, *shell.body(job, "$PBS_ARRAY_INDEX"), "trap '' USR1  # until it is listened to"]
    return "\n".join(["#!/bin/bash", directives, "", *lines, batch.line(__name__, job, notice), ""])


def _options(job: Job) -> list[str]:
    chunk = {
        "ncpus": job.processes_per_node * (job.cpus_per_process or 1),
        "mpiprocs": job.processes_per_node,
        "ngpus": job.devices_per_node,
        "mem": job.memory and f"{job.memory.lower()}b",
    }
    select = ":".join([str(job.nodes), *(f"{name}={amount}" for name, amount in chunk.items() if amount)])
    span = f"0-{len(job.tasks) - 1}" if len(job.tasks) > 1 else "0-1:2"  # of one: a range has to rise
    optional = {
        "-l walltime=": job.time and seconds(job.time),
        "-q ": job.queue,
        "-A ": job.account,
        "-J ": job.tasks and span + (f"%{job.at_once}" if job.at_once else ""),
        "-W depend=afterok:": ":".join(job.after),
    }
    return [
        f"-N {job.name}",
        "-S /bin/bash -j oe -o /dev/null",
        f"-l select={select} -l place=scatter",  # each chunk on a node of its own
        *(f"{option}{value}" for option, value in optional.items() if value),
        f"-r {'y' if job.requeue or job.tasks else 'n'}",  # an array has to be
        *job.options,
    ]


def submit(job: Job) -> str:
    """Hand the batch script in."""
    path = job.submit / "job.sh"
    write_atomically(path, script(job))
    return call("qsub", str(path)).strip()


def launch_words(request: Request) -> list[str]:
    """Several nodes by mpirun, which needs no address but those of PBS_NODEFILE; one without."""
    cluster = "mpi" if request.nodes > 1 else "local"
    return ["--cluster", cluster, "--processes", str(request.nodes * request.processes_per_node)]


def _own(submitted: Submitted, task: str) -> str:
    """PBS' id of a task: 7[2].server where ours is 7[].server_2."""
    return submitted.id.replace("[]", f"[{task.rpartition('_')[2]}]")


def status(submitted: Submitted) -> list[Status]:
    """Ask PBS, and for the tasks that it has forgotten, read what the script left."""
    found, folder = _jobs(submitted.id), submitted.job.submit
    return [
        _status(task, found[own]) if own in found else batch.left("PBS", folder / f"{own}.outcome", task)
        for task in submitted.task_ids()
        for own in [_own(submitted, task)]
    ]


def _jobs(name: str) -> dict[str, dict[str, Any]]:
    """What qstat says of a job and its subjobs, also ended ones (-x), by id; nothing where PBS knows it no more."""
    try:
        said = call("qstat", "-x", "-t", "-f", "-F", "json", name)
        return dict(msgspec.json.decode(said).get("Jobs", {}))
    except msgspec.DecodeError as error:
        raise InputError(f"qstat: got {said[:40]!r}, expected JSON: {error}") from None
    except InputError as error:
        if "Unknown Job" not in str(error):
            raise
        return {}


def _status(task: str, found: dict[str, Any]) -> Status:
    letter, code = found["job_state"], found.get("Exit_status")
    state: State = "waiting" if letter in "HQTW" else "running" if letter in "BERSU" else "unknown"
    if letter in "FX":
        state = "out of time" if code == OUT_OF_TIME else "failed" if code else "done"
        state = "cancelled" if code is None or found.get("substate") == DELETED else state
    return Status(
        id=task,
        state=state,
        detail=f"{letter} {found.get('comment', '')}".strip(),
        exit=None if code is None or state not in ("done", "failed") else code - 128 if code >= SIGNALLED else code,
        restarts=max(found.get("run_count", 1) - 1, 0),
        where=",".join(dict.fromkeys(re.findall(r"(?:^|\+)([^/+]+)/", found.get("exec_host", "")))),
    )


def logs(submitted: Submitted, task: str, *, follow: bool) -> Iterator[str]:
    """What a task has printed, all its workers and restarts."""
    path = submitted.job.submit / f"{_own(submitted, task)}.log"
    return tail.read(path, tail.ended(status, submitted, task) if follow else None)


def cancel(submitted: Submitted, tasks: Sequence[str]) -> None:
    """Have PBS end the tasks."""
    names = [_own(submitted, task) for task in tasks]
    for name in names if len(names) < len(submitted.task_ids()) else [submitted.id]:
        try:
            call("qdel", name)
        except InputError as error:
            if not re.search("finished|Unknown Job", str(error)):
                raise


def _restarts(name: str) -> int:
    return int(_jobs(name).get(name, {}).get("run_count", 1)) - 1


if __name__ == "__main__":
    here = os.environ["PBS_JOBID"]
    queue = batch.Queue(here, bool, lambda: _restarts(here), lambda: call("qrerun", here))
    sys.exit(batch.main(queue, sys.argv[1:]))
