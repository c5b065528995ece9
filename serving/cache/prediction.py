"""The cache as the service asks it: look up, join a computation that is under way, or compute and hold."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from serving.cache.key import Context, Key, Request, request_key
from serving.cache.neighbours import Neighbours
from serving.cache.responses import Responses
from serving.cache.store import Arrays, Store, Version
from serving.cache.worth import Worth
from serving.refusals import Unavailable

Compute = Callable[[], Awaitable[Arrays]]
RESPONSES = 0.25  # of the bytes, for responses as they were sent


class Statistics(msgspec.Struct):
    """What happened in a cache since it was made, and what it holds."""

    hits: int = 0
    repeated: int = 0  # of these, requests whose bytes were known, answered unread
    approximate_hits: int = 0  # answers to inputs that were near
    misses: int = 0
    joined: int = 0  # waited for the same computation of another request
    skipped: int = 0  # not looked up, since computing takes less time
    evictions: int = 0  # for want of room, or never let in
    entries: int = 0
    bytes: int = 0
    whole_bytes: int = 0  # the same without compression
    capacity_bytes: int = 0
    saved_seconds: float = 0.0  # that the computations of what was held had taken
    off: tuple[str, ...] = ()  # models' versions that compute in less time than a look-up takes


@dataclass(frozen=True, eq=False, slots=True)
class Found:
    """An answer: whether it was held, and how far from the inputs asked those were that it is the answer to.

    seconds: that its computation once took, if it was held.
    """

    arrays: Arrays
    cached: bool
    distance: float | None = None  # of other inputs, relative; None: it is the answer to these
    seconds: float = 0.0
    look_up: tuple[float, float] | None = None  # when it began and ended, by the monotonic clock; None: there was none


class _Flight(NamedTuple):
    version: Version
    task: asyncio.Task[Arrays]


class Cache:
    """A store of answers. Used from one event loop.

    capacity_bytes: of all that it holds; compressed: whether arrays are held in fewer bytes where that pays;
    approximate: the relative distance within which other inputs' answers are given, 0 for none.
    """

    def __init__(self, capacity_bytes: int, compressed: bool = False, approximate: float = 0.0) -> None:
        self.responses: Responses[Any] = Responses(int(RESPONSES * capacity_bytes))
        neighbours = Neighbours(approximate) if approximate else None
        self._store = Store(capacity_bytes - self.responses.capacity, compressed, neighbours)
        self._flights: dict[Key, _Flight] = {}
        self._worth: dict[Version, Worth] = {}
        self._statistics = Statistics(capacity_bytes=capacity_bytes)
        self.approximate = approximate

    @property
    def statistics(self) -> Statistics:
        """The figures so far."""
        figures, store = self._statistics, self._store
        figures.entries, figures.bytes = len(store), store.bytes + self.responses.bytes
        figures.evictions, figures.whole_bytes = store.evictions, figures.bytes + store.saved_bytes
        figures.off = tuple(sorted("/".join(version) for version, worth in self._worth.items() if worth.is_off))
        return figures

    async def fetch(self, request: Request, compute: Compute) -> Found:
        """The answer to a request; equal requests at the same time are computed once, if the cache is on for them.

        A request that joined another's computation, which then failed for that request's own reasons (its deadline,
        its client gone), asks again.
        """
        if not self._statistics.capacity_bytes:
            return Found(await compute(), False)
        version = request.model, request.version
        if (worth := self._worth.get(version)) is None:
            worth = self._worth[version] = Worth()
        if worth.skips():
            self._statistics.skipped += 1
            return Found((await _timed(compute, worth))[0], False)
        started = time.monotonic()
        context = request.context
        key = request_key(request.inputs, context)
        found = self._look_up(key, context, request)
        look_up = started, time.monotonic()
        worth.looked_up(look_up[1] - started)
        if found is not None:
            return Found(found.arrays, True, found.distance, found.seconds, look_up)
        while (flight := self._flights.get(key)) is not None:
            self._statistics.joined += 1
            try:
                return Found(await asyncio.shield(flight.task), False, look_up=look_up)
            except (Unavailable, asyncio.CancelledError):
                if (task := asyncio.current_task()) and task.cancelling():
                    raise
        self._statistics.misses += 1
        return Found(await self._lead(key, context, request, compute, worth), False, look_up=look_up)

    def invalidate(self, model: str, version: str) -> None:
        """Let go of everything that a version answered, and of what it is computing now."""
        self._store.drop((model, version))
        self._worth.pop((model, version), None)
        for key, flight in list(self._flights.items()):
            if flight.version == (model, version):
                del self._flights[key]

    def repeat(self, key: Key, state: object) -> Any | None:
        """The response to a request whose bytes are known; see `Responses`."""
        kept = self.responses.get(key, state)
        if kept is None:
            return None
        self._statistics.hits += 1
        self._statistics.repeated += 1
        self._statistics.saved_seconds += kept.seconds
        return kept.response

    def _look_up(self, key: Key, context: Context, request: Request) -> Found | None:
        held, figures = self._store.get(key), self._statistics
        if held is not None:
            figures.hits += 1
            figures.saved_seconds += held[1]
            return Found(held[0], True, None, held[1])
        near = None if key in self._flights else self._store.near(context, request.inputs)
        held = self._store.get(near[0]) if near else None
        if near is None or held is None:
            return None
        figures.approximate_hits += 1
        figures.saved_seconds += held[1]
        return Found(held[0], True, near[1], held[1])

    def _lead(
        self, key: Key, context: Context, request: Request, compute: Compute, worth: Worth
    ) -> asyncio.Task[Arrays]:
        version = request.model, request.version

        async def fly() -> Arrays:
            arrays, seconds = await _timed(compute, worth)
            if self._flights.get(key) is flight:  # else its version has gone meanwhile
                self._store.put(key, version, arrays, seconds, context, request.inputs)
            return arrays

        def land(_: object) -> None:
            if self._flights.get(key) is flight:
                del self._flights[key]

        flight = self._flights[key] = _Flight(version, asyncio.create_task(fly()))
        flight.task.add_done_callback(land)  # before those who wait for it go on
        return flight.task


async def _timed(compute: Compute, worth: Worth) -> tuple[Arrays, float]:
    started = time.perf_counter()
    arrays = await compute()
    seconds = time.perf_counter() - started
    worth.computed(seconds)
    return arrays, seconds
