"""Requests at the times that they are due, whether or not those before were answered."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from serving.client import ServingError

THREADS = 64  # that many may be open at once


class Sent(NamedTuple):
    """A request of a kind: when it was due, in seconds, for how long it took from then on, and why it failed."""

    kind: str
    due: float
    seconds: float
    error: str

    @property
    def end(self) -> float:
        """When it was answered or failed."""
        return self.due + self.seconds


def warm(call: Callable[[], object], count: int = 20) -> None:
    """Calls before anything counts, so that connections stand."""
    for _ in range(count):
        call()


def times(rate: Callable[[float], float], seconds: float) -> list[float]:
    """When requests are due, at a rate that may change, a second."""
    due = [0.0]
    while (following := due[-1] + 1 / rate(due[-1])) < seconds:
        due.append(following)
    return due


def send(due: Iterable[tuple[float, str]], calls: Mapping[str, Callable[[], object]], zero: float) -> Sequence[Sent]:
    """Make the call of each kind when it is due, counted from `zero` of the performance counter."""

    def one(at: float, kind: str) -> Sent:
        error = ""
        try:
            calls[kind]()
        except ServingError as raised:
            error = str(raised)
        return Sent(kind, at, time.perf_counter() - zero - at, error)

    waiting: list[Future[Sent]] = []
    with ThreadPoolExecutor(THREADS) as pool:
        for at, kind in sorted(due):
            time.sleep(max(0.0, zero + at - time.perf_counter()))
            waiting.append(pool.submit(one, at, kind))
    return [each.result() for each in waiting]
