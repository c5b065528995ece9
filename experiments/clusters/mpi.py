"""Open MPI without a queue: a detached process on this host; workers by mpirun, here or on the hosts that are named.

mpirun hands SIGUSR1 on to every worker. SIGTERM and SIGINT to mpirun end the workers: to have them save, send SIGUSR1.
"""

import os

from experiments.clusters import detached
from experiments.clusters.detached import cancel, logs, script, status
from experiments.clusters.interface import Job, Request

__all__ = ["cancel", "launch_words", "logs", "script", "status", "submit", "worker_command"]

# mpirun closes the input of a worker that has sent both its outputs elsewhere, as into a log of its own: one is kept.
KEEP_INPUT = ["sh", "-c", 'exec "$@" 3>&1', "sh"]
FORWARDED = ("JAX_", "XLA_", "NCCL_", "LIBTPU_", "TF_", "PNOL_", "PYTHON")


def submit(job: Job) -> str:
    """Start the job's supervisor on this host."""
    return detached.submit("mpi", job)


def launch_words(request: Request) -> list[str]:
    """Processes and hosts."""
    return detached.launch_words("mpi", request)


def worker_command(command: list[str], nodes: list[str] | None, processes_per_node: int) -> list[str]:
    """Workers by mpirun. One that fails, or is killed, ends the others.

    No worker is bound to a core, where Open MPI would bind each of two processes to one; what the libraries read of the
    environment reaches other hosts too.
    """
    hosts = ["--host", ",".join(f"{node}:{processes_per_node}" for node in nodes)] if nodes is not None else []
    variables = [word for name in sorted(os.environ) if name.startswith(FORWARDED) for word in ("-x", name)]
    return [
        "mpirun",
        *(["--allow-run-as-root"] if os.geteuid() == 0 else []),
        "--oversubscribe",
        "--bind-to",
        "none",
        "--map-by",
        f"ppr:{processes_per_node}:node",
        *hosts,
        *variables,
        *KEEP_INPUT,
        *command,
    ]
