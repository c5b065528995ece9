"""What is known of a replica: whether its process runs, what it answers to probes, what it counts."""

import asyncio
import contextlib
import logging
import os
import statistics
import time
from collections import deque
from collections.abc import Callable, Mapping

import msgspec

from serving.fleet.healing.hang import Silence
from serving.fleet.identity import Identity
from serving.fleet.replicas import figures
from serving.fleet.replicas.asking import get
from serving.fleet.replicas.config import ReplicasConfig
from serving.fleet.replicas.figures import Figures, Reading
from serving.fleet.replicas.spawn import HOST
from serving.fleet.shortage import is_shortage

SAMPLES = 1024  # of memory, and of waits, that are kept
log = logging.getLogger("serving.fleet")


class Health(msgspec.Struct):
    """What `GET /health` says, as far as it is needed."""

    live: bool
    ready: bool


class Watch:
    """Of one process, by tasks of the running event loop; `wake` is called when something else is known than before."""

    def __init__(
        self,
        identity: Identity,
        port: int,
        config: ReplicasConfig,
        headers: Mapping[str, str],
        wake: Callable[[], None],
        answered: bool = False,
    ) -> None:
        self.silence = Silence(answered=answered)
        self.ready = False
        self.figures: Figures | None = None
        self.waited: float | None = None  # seconds for an answer to a probe, in the mean since the reading before
        self.readings = 0
        self._waits: deque[float] = deque(maxlen=SAMPLES)  # which nothing empties as long as no figures come
        self.memory: deque[tuple[float, float]] = deque(maxlen=SAMPLES)
        self._port, self._config, self._headers, self._wake = port, config, headers, wake
        self._end = End(identity, wake)
        self._tasks = [asyncio.create_task(self._probe()), asyncio.create_task(self._count())]

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._end.alive

    def close(self) -> None:
        """Look no more."""
        self._end.close()
        for task in self._tasks:
            task.cancel()

    async def _probe(self) -> None:
        interval, deadline = self._config.probe_interval, self._config.probe_deadline
        while self.alive:
            began, before = time.monotonic(), (self.silence.seconds > 0, self.silence.answered, self.ready)
            try:
                health = await self._health(deadline)
            except OSError:  # it was not asked: nothing is known of it
                await asyncio.sleep(interval)
                continue
            self._waits.append(time.monotonic() - began)
            if health is not None and health.live:
                self.silence, self.ready = self.silence.heard(), health.ready
            else:
                self.silence = self.silence.missed(time.monotonic() - began + interval, deadline)
            if before != (self.silence.seconds > 0, self.silence.answered, self.ready):
                self._wake()
            await asyncio.sleep(interval)

    async def _health(self, deadline: float) -> Health | None:
        try:
            _, body = await get(HOST, self._port, "/health", deadline)
            return msgspec.json.decode(body, type=Health)
        except (OSError, ValueError) as error:  # TimeoutError is an OSError, msgspec's a ValueError
            if is_shortage(error):
                raise
            return None

    async def _count(self) -> None:
        before: Reading | None = None
        while self.alive:
            if self.ready:
                before = await self._read(before)
            await asyncio.sleep(self._config.figures_interval)

    async def _read(self, before: Reading | None) -> Reading | None:
        try:
            patience = 2 * self._config.figures_interval
            status, body = await get(HOST, self._port, "/monitoring/metrics", patience, self._headers)
        except (OSError, ValueError):
            self.figures = None
            return None
        if status != 200:
            said = body[:200].decode(errors="replace")
            log.warning("port %d: /monitoring/metrics answered %d: %s", self._port, status, said)
            self.figures = None
            return None
        try:
            now = figures.read(time.monotonic(), body.decode())
        except (ValueError, KeyError) as error:  # an answer that was cut
            log.warning("port %d: /monitoring/metrics: %s", self._port, error)
            self.figures = None
            return None
        self.memory.append((now.time, now.whole.get("resident_bytes", 0.0)))
        if before is not None:
            self.figures = figures.between(before, now)
            self.waited = statistics.fmean(self._waits) if self._waits else None
            self._waits.clear()
            self.readings += 1
        return now


class End:
    """The end of a process, which the kernel tells at once, also of one that is nobody's child."""

    def __init__(self, identity: Identity, wake: Callable[[], None]) -> None:
        self.alive = True
        self._wake = wake
        self._file: int | None = None
        try:
            self._file = os.pidfd_open(identity.pid)
        except ProcessLookupError:
            self.alive = False
            return
        self.alive = identity.alive()  # once the number is held fast
        asyncio.get_running_loop().add_reader(self._file, self._ended)

    def close(self) -> None:
        """Look no more."""
        if self._file is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                asyncio.get_running_loop().remove_reader(self._file)
            os.close(self._file)
            self._file = None

    def _ended(self) -> None:
        self.alive = False
        self.close()
        self._wake()
