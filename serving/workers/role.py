"""Which of several workers a process is, what it takes over from its parent."""

import ctypes
import os
import signal
import socket
from dataclasses import dataclass

ROLE = "PNOL_WORKER"  # in a worker's environment: number, how many there are, descriptors of listener and link
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Role:
    """`listener`, `link`: descriptors of the listening socket and of the line to the parent."""

    number: int
    workers: int
    listener: int
    link: int

    @classmethod
    def mine(cls) -> "Role | None":
        """From the environment; None if this process is not a worker of another."""
        text = os.environ.get(ROLE)
        return None if text is None else cls(*map(int, text.split()))

    def environment(self) -> dict[str, str]:
        """That of the process which is to have this role."""
        return {**os.environ, ROLE: f"{self.number} {self.workers} {self.listener} {self.link}"}

    def assume(self) -> tuple[socket.socket, socket.socket]:
        """Keep to the worker's own cores, end when the parent does, and take over listener and link."""
        cores = sorted(os.sched_getaffinity(0))
        if self.workers <= len(cores):
            os.sched_setaffinity(0, cores[self.number :: self.workers])
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        return socket.socket(fileno=self.listener), socket.socket(fileno=self.link)
