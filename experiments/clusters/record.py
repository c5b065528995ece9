"""`runs/submitted.jsonl`: every job that was handed to a cluster from here, one a line."""

import os
import time
from pathlib import Path

import msgspec

from experiments.clusters.interface import Job, Submitted
from pnol_jax.errors import InputError

RECORD = Path("runs/submitted.jsonl")


def add(cluster: str, job_id: str, job: Job) -> Submitted:
    """Write down that a job was handed in."""
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    submitted = Submitted(cluster=cluster, id=job_id, when=when, job=job)
    RECORD.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(RECORD, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(descriptor, msgspec.json.encode(submitted) + b"\n")  # one call: two writers do not mix their lines
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return submitted


def everything() -> list[Submitted]:
    """All jobs, the oldest first.

    Raises:
        InputError: a line is damaged, by its number.
    """
    if not RECORD.is_file():
        return []
    return [_decode(line, number) for number, line in enumerate(RECORD.read_bytes().splitlines(), 1) if line.strip()]


def _decode(line: bytes, number: int) -> Submitted:
    try:
        return msgspec.json.decode(line, type=Submitted)
    except msgspec.MsgspecError as error:
        raise InputError(f"{RECORD}, line {number}: {error}; expected a job; delete the line to go on") from None


def find(word: str) -> tuple[Submitted, list[str]]:
    """The job of an id, and the tasks that are meant: all of them, or the one that the id names.

    Raises:
        InputError: no such job was handed in from here.
    """
    jobs = everything()
    for submitted in reversed(jobs):  # a cluster that was set up anew counts from 1 again
        if word == submitted.id:
            return submitted, submitted.task_ids()
        if word in submitted.task_ids():
            return submitted, [word]
    newest = ", ".join(submitted.id for submitted in jobs[-5:]) or "none"
    raise InputError(f"no job {word!r} in {RECORD}; the newest there: {newest}")
