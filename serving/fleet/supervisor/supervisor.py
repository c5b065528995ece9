"""The loop: look at the fleet, decide, act; everything that a successor needs is in the book."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from pnol_jax.errors import InputError
from serving.fleet.balancer import Balancer, Server
from serving.fleet.config import FleetConfig
from serving.fleet.healing.verdict import Cure, Verdict
from serving.fleet.replicas.book import Book, Bounds, Release, read_book, write_book
from serving.fleet.replicas.life import Phase, Replica, drain, kill, stop
from serving.fleet.replicas.logs import last_line
from serving.fleet.replicas.spawn import HOST, end_strays
from serving.fleet.supervisor.decisions import Decisions
from serving.fleet.supervisor.disk import Disk
from serving.fleet.supervisor.edge import Edge, Traffic, Wanted
from serving.fleet.supervisor.illness import Illness
from serving.fleet.supervisor.observe import observe
from serving.fleet.supervisor.plan import Enable, Hold, Leave, Spawn, Wish, plan
from serving.fleet.supervisor.queries import Queries
from serving.fleet.supervisor.roster import Lost, Roster
from serving.fleet.supervisor.scale import Scale
from serving.fleet.supervisor.updates import Updates

WRONG_INPUT = 2  # a replica's status where its settings are wrong


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
        self.queries = Queries(config.scaling, section.decide_interval, self.decisions)
        self.illness = Illness(config.healing)
        self.disk = Disk(folder, config, self.decisions, self._later)
        self.verdicts: dict[str, Verdict] = {}
        self.held: set[str] = set()  # by a person
        self.failures = 0
        self._proven = False  # a replica was ready
        self._written: Book | None = None
        self._decided = self._looked = float("-inf")
        self.first_ready = asyncio.Event()

    async def begin(self) -> None:
        """Take over what runs, or start what should.

        Raises:
            InputError: the balancer cannot be started.
        """
        book = read_book(self.folder) or Book(Release(1, self.config.serving))
        self.updates = Updates(book.release, book.before, self.decisions)
        self.scale = Scale(self.config.scaling, self.config.minimum, self.config.most(), book.desired, book.bounds)
        self.roster.names = book.names
        for replica in book.replicas:
            self.roster.adopt(replica)
        if strays := end_strays(self.folder, {replica.identity.pid for replica in book.replicas}):
            self.decisions.note("strays ended", f"{strays} replicas that the book does not hold", logging.WARNING)
        self._proven = any(replica.ready_at is not None for replica in book.replicas)
        if book.release.settings != self.config.serving:
            self.update(self.config.serving)
        await self.edge.start(self._wanted())
        self.queries.begin()

    async def run(self, stopping: asyncio.Event) -> None:
        """Tend the fleet until told to stop.

        Raises:
            InputError: the very first replicas say that their settings are wrong.
        """
        ends = asyncio.create_task(stopping.wait())
        try:
            while not stopping.is_set():
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
            self._lose(now, lost)
        self._heal(now)
        await self._decide(now)
        spawns = self._follow(now)
        await self.edge.sync(self._wanted())
        for _ in range(spawns):
            self.roster.start(self.updates.release)
        self._settle()

    async def end(self) -> None:
        """Let the whole fleet answer what it has, and end."""
        self.decisions.note("stopping", "asked to")
        drain_seconds = self.config.replicas.drain_seconds
        await self.edge.stop(drain_seconds if self.roster.replicas else 0.0)
        until = time.monotonic() + self.config.replicas.stop_seconds + drain_seconds
        for replica in list(self.roster.replicas.values()):
            self.roster.change(*stop(replica, time.monotonic(), "the fleet stops"))
        while any(watch.alive for watch in self.roster.watches.values()) and time.monotonic() < until:
            self._wake.clear()
            list(self.roster.advance(time.monotonic(), {}))
            await asyncio.wait([asyncio.create_task(self._wake.wait())], timeout=self.config.supervisor.tick)
        list(self.roster.advance(time.monotonic(), {}))
        self._close(replace(self._book(), replicas=()))

    def leave(self) -> None:
        """Let the fleet go on by itself."""
        self.decisions.note("leaving", f"{len(self.roster.replicas)} replicas go on")
        self._close(self._book())

    def _close(self, book: Book) -> None:
        self._save(book)
        self.queries.close()
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
            Refusal: a minimum above the maximum.
        """
        self.scale.bound(bounds)
        self.decisions.note("scale", "said by a person", desired=self.scale.desired, bounds=bounds)
        self._wake.set()

    def hold(self, name: str, held: bool) -> None:
        """Give a replica no requests as long as another is ready, or give them again."""
        (self.held.add if held else self.held.discard)(name)
        self.decisions.note("held" if held else "let go", "said by a person", replica=name)
        self._wake.set()

    def _later(self, act: Callable[[], object]) -> object:
        return self._writer.submit(act)

    def _open_requests(self) -> dict[str, int]:
        return {name: state.open_requests for name, state in self.edge.servers.items()}

    def _lose(self, now: float, lost: Lost) -> None:
        replica = lost.replica
        if replica.phase in (Phase.DRAINING, Phase.STOPPING):
            return
        if lost.status == WRONG_INPUT and not self._proven:
            raise InputError(last_line(self.roster.log(replica.name)) or "a replica found its input wrong")
        self._fail(now, replica)

    def _fail(self, now: float, replica: Replica) -> None:
        """One has ended by itself, or had to be ended: the next start waits, or an update ends."""
        looping = self.illness.looping
        self.failures += 1
        self.illness.ended(now, replica)
        if self.illness.looping and not looping:
            row = self.illness.crashes.row
            self.decisions.note("crash loop", f"{row} replicas in a row ended soon", logging.ERROR)
        self.updates.failed(replica, last_line(self.roster.log(replica.name)))

    def _heal(self, now: float) -> None:
        """Act on what is wrong: the hardest cure of each replica counts."""
        found: dict[str, Verdict] = {}
        for verdict in self.illness.verdicts(now, list(self.roster.replicas.values()), self.roster.watches):
            before = found.get(verdict.name)
            if before is None or list(Cure).index(verdict.cure) > list(Cure).index(before.cure):
                found[verdict.name] = verdict
        for name, verdict in found.items():
            replica, known = self.roster.replicas[name], self.verdicts.get(name)
            if known is None or known.cure is not verdict.cure:
                self.decisions.note(f"ill ({verdict.cure.value})", verdict.why, logging.WARNING, replica=name)
            if verdict.cure is Cure.KILL:
                self.roster.change(*kill(replica, now, verdict.why))
                self._fail(now, replica)
            elif verdict.cure is Cure.RETIRE and not replica.retiring:
                self.roster.change(replace(replica, retiring=verdict.why))
        staying = {name for name, replica in self.roster.replicas.items() if replica.staying}
        for name in (self.verdicts.keys() - found.keys()) & staying:
            self.decisions.note("well again", replica=name)
        self.verdicts = found

    async def _decide(self, now: float) -> None:
        section = self.config.supervisor
        draining = any(replica.phase is Phase.DRAINING for replica in self.roster.replicas.values())
        if now - self._looked >= (section.tick if draining else section.balancer_interval):
            self._looked = now
            await self.edge.look(self._wanted())
        if now - self._decided >= section.decide_interval:
            self._decided = now
            seen = observe(self.scale.desired, self.roster, self.edge.figures, self.queries.values)
            if self.scale.decide(seen):
                decision = self.scale.decision
                self.decisions.note("scale", decision.reason, desired=decision.desired, current=decision.current)

    def _follow(self, now: float) -> int:
        """Do what is planned, and give the number of replicas to start."""
        held = {name for name, verdict in self.verdicts.items() if verdict.cure is Cure.HOLD} | self.held
        spawns = 0
        for step in plan(list(self.roster.replicas.values()), held, self._wish(now)):
            match step:
                case Enable(name):
                    self.roster.change(replace(self.roster.replicas[name], serving=True))
                    self.decisions.note("enabled", replica=name)
                case Hold(name):
                    self.roster.change(replace(self.roster.replicas[name], serving=False))
                    self.decisions.note("held back", replica=name)
                case Leave(name, why):
                    self.roster.change(*drain(self.roster.replicas[name], now, why))
                case Spawn(count):
                    spawns = count
        return spawns

    def _wish(self, now: float) -> Wish:
        coming = sum(replica.coming for replica in self.roster.replicas.values())
        room = self.config.replicas.starting - coming if now >= self.illness.crashes.until else 0
        return Wish(self.scale.desired, self.scale.spares, self.updates.release.number, max(0, room))

    def _wanted(self) -> Wanted:
        """What the balancer shall do with each replica; those that are not ready it need not know."""
        wanted = {}
        for name, replica in self.roster.replicas.items():
            server = Server(name, HOST, replica.port, replica.agent_port)
            if replica.phase is Phase.READY:
                none = Traffic.LOST if self.roster.watches[name].silence.seconds else Traffic.NONE
                wanted[name] = server, Traffic.ALL if replica.serving else none
            elif replica.phase in (Phase.DRAINING, Phase.STOPPING):
                wanted[name] = server, Traffic.REST
        return wanted

    def _settle(self) -> None:
        """What follows from the acts of this look."""
        replicas = list(self.roster.replicas.values())
        for replica in replicas:
            if replica.phase is Phase.GONE:
                self.roster.forget(replica.name)
                self.held.discard(replica.name)
        self.roster.settle()
        staying = [replica for replica in self.roster.replicas.values() if replica.staying]
        if any(replica.serving for replica in staying):
            self._proven = True
            self.first_ready.set()
        self.updates.look(staying)
        self._save(self._book())
        self.disk.tend(time.monotonic(), set(self.roster.replicas))

    def _book(self) -> Book:
        replicas = tuple(replica for replica in self.roster.replicas.values() if replica.phase is not Phase.GONE)
        desired, bounds = self.scale.desired, self.scale.bounds
        return Book(self.updates.release, self.updates.before, replicas, self.roster.names, desired, bounds)

    def _save(self, book: Book) -> None:
        """Write the book where it says something else than before; a disk that is full or slow holds nothing up."""
        if book != self._written:
            self._written = book
            self._later(lambda: self.disk.write(lambda: write_book(self.folder, book)))
