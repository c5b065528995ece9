"""Jobs where no queue is: a supervisor process of its own session, which outlives the terminal.

A job's folder `submit/ID/` holds the job, the script and the board. Tasks of an array run one after the other, as there
is nobody who shares out the machine; many small jobs at once are the work of dask.distributed.
"""

import contextlib
import functools
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import psutil

from experiments.clusters import board, processes, record, shell, tail
from experiments.clusters.board import Board, Task
from experiments.clusters.interface import Job, Request, Status, Submitted, refuse
from pnol_jax.errors import InputError
from pnol_jax.files import write_atomically

QUEUE_ONLY = ["queue", "account", "memory", "cpus_per_process", "devices_per_node", "at_once", "options"]
QUEUE_ONLY += ["image", "claim", "namespace"]
BEGIN = 30.0  # seconds in which a supervisor must have begun


def script(job: Job) -> str:
    """A shell script that becomes the command; its argument is the number of a task."""
    refuse(job, "a machine without a queue", QUEUE_ONLY)
    return "\n".join(["#!/bin/bash", *shell.body(job, "$1"), 'exec "${command[@]}"', ""])


def submit(cluster: str, job: Job) -> str:
    """Write the job's folder and start its supervisor.

    Raises:
        InputError: a job to wait for is unknown, or the supervisor did not start.
    """
    for other in job.after:
        folder_of(record.find(other)[0])
    name = f"{cluster}-{secrets.token_hex(3)}"
    folder = job.submit / name
    write_atomically(folder / "job.sh", script(job))
    write_atomically(folder / "job.json", msgspec.json.encode(job))
    with open(folder / "supervisor.log", "ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "experiments.clusters.supervisor", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    _wait_for_board(folder, process)
    return name


def launch_words(cluster: str, request: Request) -> list[str]:
    """How many processes, and on which hosts: nobody but the user can name them.

    Raises:
        InputError: several nodes are asked for, and not as many hosts named.
    """
    count = len(request.hosts) or 1
    if request.nodes not in (1, count):
        raise InputError(
            f"nodes: got {request.nodes} and {len(request.hosts)} hosts, expected --hosts A,B,... to name them"
        )
    hosts = ["--hosts", ",".join(request.hosts)] if request.hosts else []
    return ["--cluster", cluster, "--processes", str(count * request.processes_per_node), *hosts]


def _wait_for_board(folder: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + BEGIN
    while not (folder / "board.json").is_file():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            said = (folder / "supervisor.log").read_text(errors="replace").strip().splitlines()
            raise InputError(f"the job did not start: {said[-1] if said else f'no sign within {BEGIN:g} s'}")
        time.sleep(0.02)


def folder_of(submitted: Submitted) -> Path:
    """The folder of a detached job.

    Raises:
        InputError: the job is none.
    """
    folder = submitted.job.submit / submitted.id
    if not (folder / "job.json").is_file():
        raise InputError(f"{submitted.id}: no detached job in {folder}; a job waits only for jobs of its own cluster")
    return folder


def status(submitted: Submitted) -> list[Status]:
    """What the board says; a job whose supervisor was killed is over."""
    kept = board.read(folder_of(submitted))
    alive = processes.find(kept.supervisor) is not None
    if not alive:
        kept = board.read(folder_of(submitted))  # it may have ended, with all written, between the two
    return [_status(name, task, kept, alive) for name, task in kept.tasks.items()]


def _status(name: str, task: Task, kept: Board, alive: bool) -> Status:
    lost = not alive and task.state in ("waiting", "running")
    left = processes.find(task.process) if lost and task.process else None
    detail = f"its supervisor was killed{f'; process {left.pid} still runs' if left else ''}" if lost else task.detail
    state = "failed" if lost else task.state
    where = kept.supervisor.host
    return Status(id=name, state=state, detail=detail, exit=task.exit, restarts=task.restarts, where=where)


def logs(submitted: Submitted, task: str, *, follow: bool) -> Iterator[str]:
    """What a task has printed, all its workers and restarts."""
    ended = functools.partial(_ended, submitted, task)
    return tail.read(submitted.job.submit / f"{task}.log", ended if follow else None)


def _ended(submitted: Submitted, task: str) -> bool:
    return all(each.final for each in status(submitted) if each.id == task)


def cancel(submitted: Submitted, tasks: Sequence[str]) -> None:
    """Have the supervisor end the job, or what is left of it if the supervisor was killed.

    Raises:
        InputError: single tasks are named; they share a supervisor.
    """
    if list(tasks) != submitted.task_ids():
        raise InputError(f"{tasks[0]}: the tasks of a detached job end together; expected the job {submitted.id}")
    kept = board.read(folder_of(submitted))
    supervisor = processes.find(kept.supervisor)
    if supervisor is not None:
        with contextlib.suppress(psutil.NoSuchProcess):
            supervisor.terminate()
        return
    for task in kept.tasks.values():
        left = processes.find(task.process) if task.process else None
        if left is not None:
            processes.end(left, 0)
