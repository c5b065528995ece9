"""Whether to wait for one more case before a batch begins: only while that is expected to pay.

Clients that wait for their answers ask again when they have them, so after each batch the same number of requests comes
in a burst. The engine learns how many come together and how fast; it waits for those, never for more, and at low load,
where one comes at a time, not at all.
"""

import time
from dataclasses import dataclass

FORGET = 0.05  # share by which a level falls with each batch that does not reach it
SMOOTH = 0.2
PAUSE = 4.0  # gaps of a burst after which it is over


@dataclass
class Patience:
    """Of one lane: the level of cases that lately went together, and the seconds between arrivals in a burst."""

    level: float = 0.0
    gap: float = 0.0
    last: float = 0.0

    def arrived(self, saving: float) -> None:
        """Note a case; what came later than it could have saved was not of the same burst."""
        now = time.monotonic()
        apart, self.last = now - self.last, now
        if apart < saving:
            self.gap += SMOOTH * (apart - self.gap)

    def seconds(self, waiting: int, saving: float) -> float:
        """How long to wait for the next case, 0 where it does not pay."""
        if waiting + 1 > self.level or not saving:
            return 0.0
        return max(0.0, self.last + min(saving, PAUSE * max(self.gap, 1e-5)) - time.monotonic())

    def went(self, cases: int) -> None:
        """Note a batch of so many cases, those included that stayed behind."""
        self.level = max(float(cases), (1 - FORGET) * self.level)
