"""The loop: look at the fleet, decide, act; everything that a successor needs is in the book."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from serving.fleet.balancer import Balancer
from serving.fleet.config import FleetConfig
from serving.fleet.replicas.book import Book, Bounds, Release, read_book
from serving.fleet.replicas.life import Phase, stop
from serving.fleet.replicas.spawn import end_strays
from serving.fleet.shortage import Shortages
from serving.fleet.supervisor.cures import Cures
from serving.fleet.supervisor.deciding import Deciding
from serving.fleet.supervisor.decisions import Decisions
from serving.fleet.supervisor.disk import Disk
from serving.fleet.supervisor.edge import Edge
from serving.fleet.supervisor.plan import Wish, plan
from serving.fleet.supervisor.roster import Roster
from serving.fleet.supervisor.scale import Scale
from serving.fleet.supervisor.steps import follow, wanted
from serving.fleet.supervisor.updates import Updates


class Supervisor:
    """Of one folder, which the caller holds the lock of. Used from one event loop; begin, run, then end or leave."""

    def __init__(self, config: FleetConfig, folder: Path, cores: tuple[int, ...], headers: Mapping[str, str]) -> None:
        section = config.supervisor
        self.config, self.folder = config, folder
        self._wake = asyncio.Event()
        self._writer = ThreadPoolExecutor(1, "disk")
        self.decisions = Decisions(folder, section.decisions_kept, section.decisions_bytes, self._later)
        self.edge = Edge(Balancer(config.balancer, folder), section.balancer_stall, self.decisions, self._wake.set)
        self.roster = Roster(config, folder, cores, headers, self.decisions, self._wake.set)
        self.disk = Disk(folder, config, self.decisions, self._later)
        self.first_ready = asyncio.Event()
        self._shortages = Shortages(lambda why: self.decisions.note("could not look", why, logging.ERROR))

    async def begin(self) -> None:
        """Take over what runs, or start what should.

        Raises:
            InputError: the balancer cannot be started.
        """
        book = read_book(self.folder) or Book(Release(1, self.config.serving))
        self.updates = Updates(book.release, book.before, self.decisions)
        self.cures = Cures(self.config.healing, self.roster, self.updates, self.decisions)
        self.scale = Scale(self.config.scaling, self.config.minimum, self.config.most(), book.desired, book.bounds)
        if given := self.scale.given:
            why = f"{given}, as a person told the supervisor before: until {{}} is posted to /admin/scale"
            self.decisions.note("scale", why, desired=self.scale.desired)
        self._deciding = Deciding(self.config, self.edge, self.roster, self.scale, self.decisions)
        self.roster.names = book.names
        for replica in book.replicas:
            self.roster.adopt(replica)
        if strays := end_strays(self.folder, {replica.identity.pid for replica in book.replicas}):
            self.decisions.note("strays ended", f"{strays} replicas that the book does not hold", logging.WARNING)
        self.cures.proven = any(replica.ready_at is not None for replica in book.replicas)
        if book.release.settings != self.config.serving:
            self.update(self.config.serving)
        await self.edge.start(wanted(self.roster))
        self._deciding.begin()

    async def run(self, stopping: asyncio.Event) -> None:
        """Tend the fleet until told to stop.

        Raises:
            InputError: the very first replicas say that their settings are wrong.
        """
        ends = asyncio.create_task(stopping.wait())
        try:
            while not stopping.is_set():
                with self._shortages.borne():  # what was not done is done at the next look
                    await self.tick()
                waits = asyncio.create_task(self._wake.wait())
                await asyncio.wait(
                    [waits, ends], timeout=self.config.supervisor.tick, return_when=asyncio.FIRST_COMPLETED
                )
                waits.cancel()
        finally:
            ends.cancel()

    async def tick(self) -> None:
        """Look, decide and act once."""
        self._wake.clear()
        now = time.monotonic()
        for lost in self.roster.advance(now, self._open_requests()):
            self.cures.lose(now, lost)
        self.cures.heal(now)
        await self._deciding.decide(now)
        steps = plan(list(self.roster.replicas.values()), self.cures.held, self._wish(now))
        spawns = follow(steps, now, self.roster, self.decisions)
        await self.edge.sync(wanted(self.roster))
        for _ in range(spawns):
            if self.roster.start(self.updates.release) is None:
                self.cures.miss(now)
                break
        self._settle()

    async def end(self) -> None:
        """Let the whole fleet answer what it has, and end."""
        self.decisions.note("stopping", "asked to")
        drain_seconds = self.config.replicas.drain_seconds
        with self._shortages.borne():
            await self.edge.stop(drain_seconds if self.roster.replicas else 0.0)
        until = time.monotonic() + self.config.replicas.stop_seconds + drain_seconds
        told: set[str] = set()
        while True:
            self._wake.clear()
            alive = any(watch.alive for watch in self.roster.watches.values())
            with self._shortages.borne():
                self._stop(told)
            if not alive or time.monotonic() > until:
                break
            await asyncio.wait([asyncio.create_task(self._wake.wait())], timeout=self.config.supervisor.tick)
        # what a person said of the number was of this fleet, not of the next one in the folder
        desired = self.scale.desired if self.scale.bounds.fixed is None else None
        self._close(replace(self._book(), replicas=(), desired=desired, bounds=Bounds()))

    def _stop(self, told: set[str]) -> None:
        """Tell the replicas to stop that were not told yet, and look at all."""
        for name, replica in list(self.roster.replicas.items()):
            if name not in told:
                self.roster.change(*stop(replica, time.monotonic(), "the fleet stops"))
                told.add(name)
        list(self.roster.advance(time.monotonic(), {}))

    def leave(self) -> None:
        """Let the fleet go on by itself."""
        self.decisions.note("leaving", f"{len(self.roster.replicas)} replicas go on")
        self._close(self._book())

    def _close(self, book: Book) -> None:
        self.disk.keep(book)
        self._deciding.close()
        self.roster.close()
        self.edge.close()
        self._writer.shutdown(wait=True)
        self.decisions.close()

    def update(self, settings: dict[str, Any]) -> Release:
        """Have all replicas replaced, one by one, by such with these settings and today's code."""
        self._wake.set()
        return self.updates.begin(settings, self.roster.replicas.values())

    def bound(self, bounds: Bounds) -> None:
        """What a person wants of the number of replicas.

        Raises:
            Refusal: a minimum above the maximum, or a number that is not between them.
        """
        self.scale.bound(bounds)
        self.decisions.note("scale", "said by a person", desired=self.scale.desired, bounds=bounds)
        self._wake.set()

    def hold(self, name: str, held: bool) -> None:
        """Give a replica no requests as long as another is ready, or give them again."""
        self.cures.hold(name, held)
        self._wake.set()

    def _later(self, act: Callable[[], object]) -> object:
        return self._writer.submit(act)

    def _open_requests(self) -> dict[str, int]:
        return {name: state.open_requests for name, state in self.edge.servers.items()}

    def _wish(self, now: float) -> Wish:
        coming = sum(replica.coming for replica in self.roster.replicas.values())
        room = self.config.replicas.starting - coming if now >= self.cures.illness.crashes.until else 0
        return Wish(self.scale.desired, self.scale.spares, self.updates.release.number, max(0, room))

    def _settle(self) -> None:
        """What follows from the acts of this look."""
        replicas = list(self.roster.replicas.values())
        for replica in replicas:
            if replica.phase is Phase.GONE:
                self.roster.forget(replica.name)
                self.cures.forget(replica.name)
        self.roster.settle()
        staying = [replica for replica in self.roster.replicas.values() if replica.staying]
        if any(replica.serving for replica in staying):
            self.cures.proven = True
            self.first_ready.set()
        self.updates.look(staying)
        self.disk.keep(self._book())
        self.disk.tend(time.monotonic(), set(self.roster.replicas))

    def _book(self) -> Book:
        replicas = tuple(replica for replica in self.roster.replicas.values() if replica.phase is not Phase.GONE)
        desired, bounds = self.scale.desired, self.scale.bounds
        return Book(self.updates.release, self.updates.before, replicas, self.roster.names, desired, bounds)
