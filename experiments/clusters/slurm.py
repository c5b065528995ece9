"""SLURM: sbatch, scontrol, scancel; workers by srun.

The batch script (`batch.py`) runs the command on the first node and hands SIGUSR1, which SLURM sends it before the time
is up or on preemption, on to it. A command that then ends with status 75 is put back into the queue. Accounting (sacct)
is not needed: how a job ended is asked of scontrol and, when SLURM has forgotten the job, read from what was left.
"""

import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence

from experiments.clusters import batch, shell, tail
from experiments.clusters.durations import clock
from experiments.clusters.external import call
from experiments.clusters.interface import Job, Request, State, Status, Submitted, refuse
from pnol_jax.errors import InputError
from pnol_jax.files import write_atomically

STATES: dict[str, State] = {
    "PENDING": "waiting",
    "REQUEUED": "waiting",
    "REQUEUE_HOLD": "waiting",
    "REQUEUE_FED": "waiting",
    "RESV_DEL_HOLD": "waiting",
    "SPECIAL_EXIT": "waiting",
    "CONFIGURING": "running",
    "RUNNING": "running",
    "COMPLETING": "running",
    "RESIZING": "running",
    "SIGNALING": "running",
    "STAGE_OUT": "running",
    "STOPPED": "running",
    "SUSPENDED": "running",
    "COMPLETED": "done",
    "CANCELLED": "cancelled",
    "PREEMPTED": "cancelled",
    "REVOKED": "cancelled",
    "DEADLINE": "out of time",
    "TIMEOUT": "out of time",
    "BOOT_FAIL": "failed",
    "FAILED": "failed",
    "NODE_FAIL": "failed",
    "OUT_OF_MEMORY": "failed",
}


def script(job: Job) -> str:
    """The batch script."""
    refuse(job, "SLURM", ("hosts", "image", "claim", "namespace"))
    options = "\n".join(f"#SBATCH {option}" for option in _options(job))
    lines = shell.body(job, "$SLURM_ARRAY_TASK_ID")
    if job.cpus_per_process:
        lines.insert(1, f"export SRUN_CPUS_PER_TASK={job.cpus_per_process}")
    lines += ["trap '' USR1  # until it is listened to", batch.line(__name__, job)]
    return "\n".join(["#!/bin/bash", options, "", *lines, ""])


def _options(job: Job) -> list[str]:
    log = str(job.submit).replace("%", "%%") + ("/%A_%a.log" if job.tasks else "/%j.log")
    throttle = f"%{job.at_once}" if job.at_once else ""
    optional = {
        "--partition": job.queue,
        "--account": job.account,
        "--time": job.time and clock(job.time),
        "--mem": job.memory,
        "--gpus-per-node": job.devices_per_node,
        "--cpus-per-task": job.cpus_per_process,
        "--signal": job.signal_before and f"B:USR1@{job.signal_before}",
        "--array": job.tasks and f"0-{len(job.tasks) - 1}{throttle}",
        "--dependency": job.after and ":".join(["afterok", *job.after]),
    }
    return [
        f"--job-name={job.name}",
        f"--nodes={job.nodes}",
        f"--ntasks-per-node={job.processes_per_node}",
        f"--output={_quoted(log)}",
        "--open-mode=append",
        *(f"{option}={value}" for option, value in optional.items() if value),
        "--requeue" if job.requeue else "--no-requeue",
        *(["--kill-on-invalid-dep=yes"] if job.after else []),
        *(["--no-kill"] if job.elastic else []),
        *job.options,
    ]


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"' if re.search(r"[\s\"'\\#]", text) else text


def submit(job: Job) -> str:
    """Hand the batch script in."""
    path = job.submit / "job.sh"
    write_atomically(path, script(job))
    return call("sbatch", "--parsable", str(path)).strip().partition(";")[0]


def launch_words(request: Request) -> list[str]:
    """The allocation says the rest."""
    return ["--cluster", "slurm"]


def status(submitted: Submitted) -> list[Status]:
    """Ask SLURM, and for the tasks that it has forgotten, read what the script left."""
    try:
        # Without the variable SLURM cuts the list of waiting tasks off after 64 characters.
        environment = os.environ | {"SLURM_BITSTR_LEN": "0"}
        text = call("scontrol", "--oneliner", "show", "job", submitted.id, environment=environment)
    except InputError as error:
        if "Invalid job id" not in str(error):
            raise
        text = ""
    known = {each.id: each for line in text.splitlines() for each in _statuses(line)}
    folder = submitted.job.submit
    return [known.get(each) or batch.left("SLURM", folder / f"{each}.outcome", each) for each in submitted.task_ids()]


def _statuses(line: str) -> list[Status]:
    """The tasks that a line of scontrol speaks of: several where an array still waits."""
    found = dict(reversed(re.findall(r"(\w+)=(\S*)", line)))  # the first of a name counts: paths come last
    word = found["JobState"]
    code, signal = (int(part) for part in found["ExitCode"].split(":"))
    state = STATES.get(word, "unknown")
    ids = [f"{found['ArrayJobId']}_{number}" for number in _numbers(found.get("ArrayTaskId", ""))]
    reason = "" if found["Reason"] == "None" else f" ({found['Reason']})"
    return [
        Status(
            id=each,
            state=state,
            detail=word + reason,
            exit=(128 + signal if signal else code) if state in ("done", "failed") else None,
            restarts=int(found["Restarts"]),
            where="" if found["NodeList"] == "(null)" else found["NodeList"],
        )
        for each in ids or [found["JobId"]]
    ]


def _numbers(text: str) -> list[int]:
    """The numbers of 0-3,5,8-12:2%4, of which the last says how many run at once."""
    numbers: list[int] = []
    for part in re.findall(r"(\d+)(?:-(\d+)(?::(\d+))?)?", text.partition("%")[0]):
        first, last, step = (int(number or 0) for number in part)
        numbers += range(first, max(first, last) + 1, step or 1)
    return numbers


def logs(submitted: Submitted, task: str, *, follow: bool) -> Iterator[str]:
    """What a task has printed, all its workers and restarts."""
    path = submitted.job.submit / f"{task}.log"
    return tail.read(path, tail.ended(status, submitted, task) if follow else None)


def cancel(submitted: Submitted, tasks: Sequence[str]) -> None:
    """Have SLURM end the tasks."""
    call("scancel", *tasks)


def worker_command(command: list[str], nodes: list[str] | None, processes_per_node: int) -> list[str]:
    """Workers by srun. One that fails, or is killed, ends the others; SIGUSR1 to srun reaches every worker.

    SIGTERM to srun kills the workers at once. After one was lost srun sends the others SIGTERM, which JAX catches, and
    SIGKILL only after KillWait (30 s, or what the site has set): a worker that hears of a lost peer ends by itself.
    """
    allocated = os.environ.get("SLURM_JOB_NUM_NODES")
    if allocated is None:
        raise InputError("srun: no allocation: SLURM_JOB_NUM_NODES is not set; expected to run in a job of SLURM")
    count = len(nodes) if nodes is not None else int(allocated)
    where = [f"--nodelist={','.join(nodes)}"] if nodes is not None else []
    return [
        "srun",
        "--kill-on-bad-exit=1",
        "--overlap",  # a step that lost a node keeps its cores in SLURM's books, and the next would wait for them
        "--label",
        f"--nodes={count}",
        f"--ntasks={count * processes_per_node}",
        f"--ntasks-per-node={processes_per_node}",
        *where,
        *command,
    ]


def _here(environment: Mapping[str, str]) -> batch.Queue:
    """The queue, in a job of it."""
    job = environment["SLURM_JOB_ID"]
    return batch.Queue(
        task=task_id(environment),
        ended=lambda terminated: _state(job) != "RUNNING",
        restarts=lambda: int(environment.get("SLURM_RESTART_COUNT", "0")),
        put_back=lambda: call("scontrol", "requeue", job),
    )


def _state(job: str) -> str:
    state = re.search(r"JobState=(\w+)", call("scontrol", "--oneliner", "show", "job", job))
    return state[1] if state else ""


def task_id(environment: Mapping[str, str]) -> str:
    """The id of the job, JOB_2 of a task of an array, by SLURM's variables."""
    if "SLURM_ARRAY_JOB_ID" in environment:
        return f"{environment['SLURM_ARRAY_JOB_ID']}_{environment['SLURM_ARRAY_TASK_ID']}"
    return environment["SLURM_JOB_ID"]


if __name__ == "__main__":
    sys.exit(batch.main(_here(os.environ), sys.argv[1:]))
