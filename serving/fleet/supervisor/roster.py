"""The replicas of a fleet: started, taken over, watched, signalled."""

import logging
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from pnol_jax.ports import free_port
from serving.fleet.config import FleetConfig
from serving.fleet.replicas import cores
from serving.fleet.replicas.book import Release
from serving.fleet.replicas.life import Note, Orders, Phase, Replica, Seen, Send, advance
from serving.fleet.replicas.spawn import command, spawn
from serving.fleet.supervisor.decisions import Decisions
from serving.fleet.supervisor.watch import Watch

LEDGERS = "ledgers"  # folder in which all replicas count truths, so that they judge a release as one


@dataclass(frozen=True)
class Lost:
    """A replica as it was before its process ended or it was given up; the status, which only a parent is told."""

    replica: Replica
    status: int | None


class Roster:
    """All replicas by name, those that are gone included until `forget`. Used from one event loop."""

    def __init__(
        self,
        config: FleetConfig,
        folder: Path,
        available: tuple[int, ...],
        headers: Mapping[str, str],
        decisions: Decisions,
        wake: Callable[[], None],
    ) -> None:
        self.replicas: dict[str, Replica] = {}
        self.watches: dict[str, Watch] = {}
        self.names = 0
        self._config, self._asks_agents = config.replicas, config.asks_agents
        self._folder, self._available, self._headers = folder, available, headers
        self._decisions, self._wake = decisions, wake
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def log(self, name: str) -> Path:
        """The file of a replica's output."""
        return self._folder / f"{name}.log"

    def adopt(self, replica: Replica) -> None:
        """Take over one that another supervisor started."""
        self.replicas[replica.name] = replica
        answered = replica.phase is not Phase.STARTING
        self.watches[replica.name] = self._watch(replica, answered)
        self._decisions.note("adopted", f"{replica.phase.value}, pid {replica.identity.pid}", replica=replica.name)

    def start(self, release: Release) -> Replica | None:
        """A new one; None where the machine can start none, which is noted."""
        self.names += 1
        name = f"r{self.names}"
        try:
            replica = self._spawn(name, release)
        except OSError as error:
            self._decisions.note("not started", str(error), logging.ERROR, replica=name)
            return None
        pinned = ",".join(map(str, replica.cores))
        where = f"pid {replica.identity.pid}, port {replica.port}, cores {pinned}, release {release.number}"
        self._decisions.note("started", where, replica=name)
        return replica

    def _spawn(self, name: str, release: Release) -> Replica:
        port, now = free_port(), time.monotonic()
        agent = free_port() if self._asks_agents else None
        taken = [each.cores for each in self.replicas.values() if each.staying]
        pinned = cores.choose(self._cores(), self._config.cores, taken)
        words = command({"ledgers": str(self._folder / LEDGERS), **release.settings}, port, agent)
        identity, process = spawn(name, words, self._folder, pinned, self._config.environment)
        replica = Replica(name, port, identity, release.number, now, pinned, agent, since=now)
        try:
            self.watches[name] = self._watch(replica, False)
        except OSError:
            process.kill()
            process.wait()
            raise
        self.replicas[name], self._children[name] = replica, process
        return replica

    def advance(self, now: float, open_requests: Mapping[str, int]) -> Iterator[Lost]:
        """Let each live on; those whose processes have ended, and those that took too long to become ready."""
        for name, replica in list(self.replicas.items()):
            watch = self.watches[name]
            seen = Seen(now, watch.alive, watch.silence.answered, watch.ready, open_requests.get(name))
            after, orders = advance(replica, seen, self._config)
            ended = after.phase is Phase.GONE and replica.phase is not Phase.GONE
            status = self._reap(name) if ended else None
            if ended and status is not None:
                orders = (Note("ended", f"{replica.why or 'by itself'}, {said(status)}"),)
            self.change(after, orders)
            if ended or (replica.coming and after.phase is Phase.STOPPING):
                yield Lost(replica, status)

    def change(self, replica: Replica, orders: Orders = ()) -> None:
        """A replica is another one now; and what is to be done for that. It stays as it was where that fails.

        Raises:
            OSError: it cannot be sent a signal, for want of open files.
        """
        for order in orders:
            match order:
                case Send(number):
                    replica.identity.signal(number)
                case Note(event, why):
                    self._decisions.note(event, why, replica=replica.name)
        self.replicas[replica.name] = replica

    def forget(self, name: str) -> None:
        """One that is gone."""
        self.watches.pop(name).close()
        del self.replicas[name]

    def settle(self) -> None:
        """Have those that get requests compute on cores of their own, where spares had the same."""
        ready = [replica for replica in self.replicas.values() if replica.phase is Phase.READY]
        ready.sort(key=lambda replica: (not replica.serving, replica.spawned))
        held = [(replica.name, replica.cores) for replica in ready]
        for name, wanted in cores.spread(self._cores(), self._config.cores, held).items():
            cores.move(self.replicas[name].identity.pid, wanted)
            self.replicas[name] = replace(self.replicas[name], cores=wanted)

    def close(self) -> None:
        """Look no more; the replicas go on."""
        for watch in self.watches.values():
            watch.close()

    def _cores(self) -> list[int]:
        """Those of the beginning that were not taken from this machine since."""
        present = os.sched_getaffinity(0)
        return [core for core in self._available if core in present] or sorted(present)

    def _reap(self, name: str) -> int | None:
        process = self._children.pop(name, None)
        return None if process is None else process.wait()

    def _watch(self, replica: Replica, answered: bool) -> Watch:
        return Watch(replica.identity, replica.port, self._config, self._headers, self._wake, answered)


def said(status: int) -> str:
    """An exit status in words."""
    known = {int(number): number.name for number in signal.Signals}
    return known.get(-status, f"signal {-status}") if status < 0 else f"status {status}"
