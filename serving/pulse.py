"""A sign of life from a process to the one that started it: a number in shared memory that its event loop raises.

Nothing is sent, so neither can wait for the other.
"""

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass, field

BEAT_SECONDS = 0.5
_BYTES = 8


@dataclass
class Pulse:
    """The number, in a file that lies in memory only; a child inherits its descriptor."""

    descriptor: int = field(default_factory=lambda: os.memfd_create("pulse"))

    def read(self) -> int:
        """The number; 0 if there was no beat yet."""
        return int.from_bytes(os.pread(self.descriptor, _BYTES, 0), "little")

    def write(self, number: int) -> None:
        """Set the number."""
        os.pwrite(self.descriptor, number.to_bytes(_BYTES, "little"), 0)

    async def beat(self, living: Callable[[], bool]) -> None:
        """Raise the number for as long as a function says that the process lives."""
        while True:
            if living():
                self.write(self.read() + 1)
            await asyncio.sleep(BEAT_SECONDS)


@dataclass
class Watch:
    """How long a process that has begun to beat was silent.

    Only time is counted in which the watcher itself was awake: after a pause of the whole machine, all would seem dead.
    """

    pulse: Pulse
    last: int = 0
    silence: float = 0.0

    def restart(self) -> None:
        """Wait for the first beat of a new process."""
        self.pulse.write(0)
        self.last, self.silence = 0, 0.0

    def look(self, elapsed: float) -> float:
        """Seconds of silence, `elapsed` since the last look; 0 until the first beat."""
        number = self.pulse.read()
        self.silence = self.silence + elapsed if number == self.last != 0 else 0.0
        self.last = number
        return self.silence
