"""A process by its number and its beginning: another one that has got the number since is never taken for it."""

import os
import select
import signal
from pathlib import Path
from typing import Self

import msgspec

PROC = Path("/proc")


class Identity(msgspec.Struct, frozen=True):
    """A process of this machine; `started` in clock ticks since the machine did, as field 22 of /proc/PID/stat."""

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> Self | None:
        """That of a process that runs now; none if none has this number, or it has ended and waits for its parent."""
        try:
            text = (PROC / str(pid) / "stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return None
        fields = text.rpartition(")")[2].split()  # the name before it may hold spaces and brackets
        return None if fields[0] in "ZX" else cls(pid, int(fields[19]))

    def alive(self) -> bool:
        """Whether it runs, or stands still; not what has ended, whether or not its parent has taken notice."""
        return Identity.of(self.pid) == self

    def signal(self, number: int) -> bool:
        """Send a signal to this process and to no other; whether it was still there.

        Raises:
            PermissionError: it belongs to another user.
        """
        try:
            file = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return False
        try:
            if not self.alive():  # asked once the number is held fast
                return False
            signal.pidfd_send_signal(file, number)
        except ProcessLookupError:
            return False
        finally:
            os.close(file)
        return True

    def wait(self, seconds: float) -> bool:
        """Wait until it has ended, for so long at most; whether it has."""
        try:
            file = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return True
        try:
            poll = select.poll()
            poll.register(file, select.POLLIN)
            if self.alive():
                poll.poll(1000 * seconds)
            return not self.alive()
        finally:
            os.close(file)
