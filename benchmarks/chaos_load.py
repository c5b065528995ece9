"""Callers under chaos: what each request by our client cost, and what callers saw of a fault."""

import contextlib
import math
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from serving.client import Client, ServingError

PAUSE = 0.02  # seconds between a caller's requests, about
DEADLINE = 60.0  # of a call, with all its tries: the client's own default
LATE = 0.25  # seconds, beyond which an answer counts as delayed, but at least
FACTOR = 3.0  # times the p99 of the quiet time before the first fault


@dataclass(frozen=True)
class Call:
    """A request: when it was sent and when it was over, on the monotonic clock, and the error that its caller saw."""

    sent: float
    over: float
    error: str = ""

    def hurt(self, late: float) -> float:
        """When its caller saw that something was wrong; never: infinity."""
        if self.over - self.sent > late:
            return self.sent + late
        return self.over if self.error else math.inf


@dataclass
class Callers:
    """So many threads that ask, each for one answer at a time; `began`: in seconds since 1970."""

    points: int
    began: float = field(default_factory=time.time)
    calls: list[Call] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)

    def ask(self, number: int, client: Client) -> None:
        """Ask until it is over."""
        generator = np.random.default_rng(number)
        with client:
            while not self.stopping.wait(PAUSE * generator.exponential()):
                inputs = generator.standard_normal((self.points, self.points, 1)).astype(np.float32)
                sent, error = time.monotonic(), ""
                try:
                    client.predict(inputs, outputs=["mean"])
                except ServingError as raised:
                    error = f"{type(raised).__name__}: {raised}"
                self.calls.append(Call(sent, time.monotonic(), error))

    def lost(self) -> list[Call]:
        """Requests without an answer."""
        return [call for call in self.calls if call.error]

    def late_from(self) -> float:
        """Seconds from which an answer counts as delayed, by the calls so far."""
        taken = [call.over - call.sent for call in self.calls if not call.error]
        return max(LATE, FACTOR * float(np.quantile(taken, 0.99)))

    def errors(self) -> Counter[str]:
        """What callers saw, by what it says."""
        return Counter(call.error for call in self.lost())


def window(calls: Sequence[Call], fault: float, end: float, late: float) -> float:
    """Seconds from a fault to the end of the last request that failed or became late before the next one; 0 of none.

    Args:
        calls: all
        fault: when it happened
        end: when the next one did
        late: seconds from which an answer is delayed
    """
    met = [call.over for call in calls if fault <= call.hurt(late) < end]
    return max((over - fault for over in met), default=0.0)


def longest(calls: Sequence[Call], fault: float, end: float) -> float:
    """Seconds that the slowest request under way or sent between a fault and the next one took."""
    return max((call.over - call.sent for call in calls if call.sent < end and call.over >= fault), default=0.0)


@contextlib.contextmanager
def calling(url: str, points: int, callers: int) -> Iterator[Callers]:
    """Callers that ask while the block runs."""
    clients = [Client(url, deadline=DEADLINE) for _ in range(callers)]
    made = Callers(points)
    threads = [threading.Thread(target=made.ask, args=pair) for pair in enumerate(clients)]
    for thread in threads:
        thread.start()
    try:
        yield made
    finally:
        made.stopping.set()
        for thread in threads:
            thread.join()
