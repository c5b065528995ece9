"""Asking for a job, waiting for it and ending it, on any cluster."""

import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import msgspec

from experiments.clusters.interface import Cluster, Status, Submitted
from pnol_jax.files import write_atomically

FIRST, LONGEST = 0.5, 15.0  # seconds between two questions: little at first, then easy on the cluster


def statuses(cluster: Cluster, submitted: Submitted, tasks: Collection[str]) -> list[Status]:
    """How the named tasks of a job stand."""
    return [_remembered(submitted, status) for status in cluster.status(submitted) if status.id in tasks]


def _remembered(submitted: Submitted, status: Status) -> Status:
    if status.state == "unknown" and _mark(submitted, status.id).exists():
        return msgspec.structs.replace(status, state="cancelled")
    return status


def wait(
    cluster: Cluster, submitted: Submitted, tasks: Collection[str], show: Callable[[list[Status]], None]
) -> list[Status]:
    """Ask until every named task has ended; `show` is handed each answer."""
    pause = FIRST
    while True:
        found = statuses(cluster, submitted, tasks)
        show(found)
        if all(status.final for status in found):
            return found
        time.sleep(pause)
        pause = min(1.3 * pause, LONGEST)


def cancel(cluster: Cluster, submitted: Submitted, tasks: Sequence[str]) -> list[Status]:
    """End tasks, and remember that this was wanted, as a cluster may forget them; those that had ended before."""
    found = statuses(cluster, submitted, tasks)
    for status in found:
        if not status.final:
            write_atomically(_mark(submitted, status.id), "")
    cluster.cancel(submitted, tasks)  # something may be left of those that had ended too
    return [status for status in found if status.final]


def _mark(submitted: Submitted, task: str) -> Path:
    return submitted.job.submit / f"{task}.cancelled"
