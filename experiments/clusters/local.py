"""This machine, without a queue: a detached process. The launcher starts the workers itself."""

from experiments.clusters import detached
from experiments.clusters.detached import cancel, logs, script, status
from experiments.clusters.interface import Job, Request

__all__ = ["cancel", "launch_words", "logs", "script", "status", "submit", "worker_command"]


def submit(job: Job) -> str:
    """Start the job's supervisor."""
    return detached.submit("local", job)


def launch_words(request: Request) -> list[str]:
    """Processes and hosts."""
    return detached.launch_words("local", request)


def worker_command(command: list[str], nodes: list[str] | None, processes_per_node: int) -> list[str]:
    """The command itself: nothing here starts several workers but the launcher."""
    return command
