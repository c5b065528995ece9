"""Processes named so that nobody else's can be meant: by host, process id and start time."""

import contextlib
import socket

import msgspec
import psutil

from pnol_jax.errors import InputError

TOLERANCE = 1.0  # seconds by which a start time may differ, when the clock was set


class ProcessId(msgspec.Struct, frozen=True):
    """A process for good: a number alone is given to another process after its end."""

    host: str
    pid: int
    started: float  # seconds since 1970


def identify(pid: int) -> ProcessId:
    """The process that has this number now, on this host."""
    return ProcessId(socket.gethostname(), pid, psutil.Process(pid).create_time())


def find(process: ProcessId) -> psutil.Process | None:
    """The process, if it still runs.

    Raises:
        InputError: it belongs to another host.
    """
    if process.host != socket.gethostname():
        raise InputError(f"process {process.pid} is on {process.host}, this is {socket.gethostname()}: ask there")
    with contextlib.suppress(psutil.NoSuchProcess):
        found = psutil.Process(process.pid)
        same = abs(found.create_time() - process.started) < TOLERANCE
        if same and found.status() != psutil.STATUS_ZOMBIE:
            return found
    return None


def end(process: psutil.Process, patience: float) -> None:
    """SIGTERM to a process; SIGKILL to it and to all that it started if they are there after `patience` seconds."""
    family = kin(process)
    with contextlib.suppress(psutil.NoSuchProcess):
        process.terminate()
    psutil.wait_procs([process], patience)
    for each in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()


def kin(process: psutil.Process) -> list[psutil.Process]:
    """A process and all that it started, directly or not."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return [process, *process.children(recursive=True)]
    return [process]
