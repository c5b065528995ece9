"""Copies of requests for a version on trial, asked while nobody waits: answers are dropped, their cost is counted."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import Context

from pnol_jax.errors import InputError
from serving.query import Query
from serving.refusals import Unavailable
from serving.releases.traffic import Traffic

LOOK_SECONDS = 0.002  # between looks at whether the engine is idle


class Shadow:
    """One copy at a time, once no request waits in the engine; the newest go if too many wait. One event loop's."""

    def __init__(self, ask: Callable[[Query], Awaitable[object]], is_idle: Callable[[], bool], waiting: int) -> None:
        self._ask = ask
        self._is_idle = is_idle
        self._most = waiting
        self._copies: deque[tuple[Query, Traffic]] = deque()
        self._task: asyncio.Task[None] | None = None

    def add(self, query: Query, traffic: Traffic) -> None:
        """Ask a copy later, and note in the traffic what becomes of it."""
        if len(self._copies) >= self._most:
            traffic.count_shadow("dropped")
            return
        self._copies.append((query, traffic))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), context=Context())  # not that of the request

    async def finish(self) -> None:
        """Wait for the copies so far."""
        if self._task is not None:
            await self._task

    async def _run(self) -> None:
        while self._copies:
            while not self._is_idle():
                await asyncio.sleep(LOOK_SECONDS)
            query, traffic = self._copies.popleft()
            started = time.perf_counter()
            traffic.count_shadow(await self._outcome(query))
            traffic.count_shadow("seconds", time.perf_counter() - started)

    async def _outcome(self, query: Query) -> str:
        try:
            await self._ask(query)
        except (InputError, Unavailable):
            return "refused"
        except Exception:  # a fault of the version on trial is counted, and nobody else's
            return "failed"
        return "answered"
