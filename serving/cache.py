"""The prediction cache: answers by everything that they depend on, bounded by bytes, each computed once at a time."""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from serving.refusals import Unavailable

Arrays = Mapping[str, NDArray[Any]]
Key = bytes


class Statistics(msgspec.Struct):
    """What happened in a cache since it was made, and what it holds."""

    hits: int = 0
    misses: int = 0
    joined: int = 0  # waited for the same computation of another request
    evictions: int = 0
    entries: int = 0
    bytes: int = 0
    capacity_bytes: int = 0


class Cache(Protocol):
    """A store of answers. Used from the event loop's thread only."""

    @property
    def statistics(self) -> Statistics:
        """The figures so far."""
        ...

    def get(self, key: Key) -> Arrays | None:
        """The answer under a key, if it is held."""
        ...

    def put(self, key: Key, value: Arrays) -> None:
        """Hold an answer, if it fits; its arrays become read-only."""
        ...

    async def fetch(self, key: Key, compute: Callable[[], Awaitable[Arrays]]) -> tuple[Arrays, bool]:
        """The answer under a key and whether it was held; equal keys at the same time are computed once."""
        ...


def request_key(
    model: str,
    version: str,
    digest: str,
    bucket: tuple[int, ...],
    grid: str,
    options: str,
    seed: int,
    inputs: NDArray[Any],
) -> Key:
    """256 bits of everything that an answer depends on: no two requests that differ in any of it share a key.

    The bucket is part of it since answers from different buckets differ in their last bits. Shape and dtype are, since
    different arrays may have the same bytes.
    """
    parts = (model, version, digest, repr(bucket), grid, options, str(seed), repr(inputs.shape), inputs.dtype.str)
    state = hashlib.blake2b(digest_size=32)
    for part in parts:
        text = part.encode()
        state.update(len(text).to_bytes(8, "little") + text)
    state.update(np.ascontiguousarray(inputs).data)
    return state.digest()


class LRUCache:
    """Evicts what was asked for least recently."""

    def __init__(self, capacity_bytes: int) -> None:
        self._held: OrderedDict[Key, tuple[Arrays, int]] = OrderedDict()
        self._flights: dict[Key, asyncio.Task[Arrays]] = {}
        self._statistics = Statistics(capacity_bytes=capacity_bytes)

    @property
    def statistics(self) -> Statistics:
        """The figures so far."""
        self._statistics.entries = len(self._held)
        return self._statistics

    def get(self, key: Key) -> Arrays | None:
        """The answer under a key, if it is held."""
        held = self._held.get(key)
        if held is None:
            return None
        self._held.move_to_end(key)
        return held[0]

    def put(self, key: Key, value: Arrays) -> None:
        """Hold an answer, if it fits; its arrays become read-only."""
        size = sum(array.nbytes for array in value.values())
        if key in self._held or size > self._statistics.capacity_bytes:
            return
        for array in value.values():
            array.setflags(write=False)
        self._held[key] = (value, size)
        self._statistics.bytes += size
        while self._statistics.bytes > self._statistics.capacity_bytes:
            _, (_, freed) = self._held.popitem(last=False)
            self._statistics.bytes -= freed
            self._statistics.evictions += 1

    async def fetch(self, key: Key, compute: Callable[[], Awaitable[Arrays]]) -> tuple[Arrays, bool]:
        """The answer under a key and whether it was held; equal keys at the same time are computed once.

        A request that joined another's computation, which then failed for that request's own reasons (its deadline,
        its client gone), asks again.
        """
        held = self.get(key)
        if held is not None:
            self._statistics.hits += 1
            return held, True
        while (flight := self._flights.get(key)) is not None:
            self._statistics.joined += 1
            try:
                return await asyncio.shield(flight), False
            except (Unavailable, asyncio.CancelledError):
                if (task := asyncio.current_task()) and task.cancelling():
                    raise
        self._statistics.misses += 1
        return await self._lead(key, compute), False

    def _lead(self, key: Key, compute: Callable[[], Awaitable[Arrays]]) -> asyncio.Task[Arrays]:
        async def flight() -> Arrays:
            value = await compute()
            self.put(key, value)
            return value

        task = self._flights[key] = asyncio.create_task(flight())
        task.add_done_callback(lambda _: self._flights.pop(key))  # before those who wait for it go on
        return task
