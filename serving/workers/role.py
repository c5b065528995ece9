"""Which of several workers a process is, what it takes over from its parent."""

import ctypes
import os
import signal
import socket
from dataclasses import dataclass

from serving.pulse import Pulse

ROLE = "PNOL_WORKER"  # in a worker's environment: number, how many there are, descriptors of listener, link and pulse
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Member:
    """One of several processes: its number, its line to the parent, its sign of life."""

    number: int
    link: socket.socket
    pulse: Pulse


@dataclass(frozen=True)
class Role:
    """`listener`, `link`, `pulse`: descriptors of the socket, the line to the parent, and the sign of life."""

    number: int
    workers: int
    listener: int
    link: int
    pulse: int

    @classmethod
    def mine(cls) -> "Role | None":
        """From the environment; None if this process is not a worker of another."""
        text = os.environ.get(ROLE)
        return None if text is None else cls(*map(int, text.split()))

    def environment(self) -> dict[str, str]:
        """That of the process which is to have this role."""
        return {**os.environ, ROLE: f"{self.number} {self.workers} {self.listener} {self.link} {self.pulse}"}

    def assume(self) -> tuple[socket.socket, Member]:
        """Keep to the worker's own cores, end when the parent does, and take over what it was given."""
        cores = sorted(os.sched_getaffinity(0))
        if self.workers <= len(cores):
            os.sched_setaffinity(0, cores[self.number :: self.workers])
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        member = Member(self.number, socket.socket(fileno=self.link), Pulse(self.pulse))
        return socket.socket(fileno=self.listener), member
