"""The balancer, told what is wanted of it: it is compared with what it was told, and the difference said."""

import asyncio
import logging
import signal
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from typing import TypeVar

from pnol_jax.errors import InputError
from serving.fleet.balancer import Balancer, BalancerFigures, CommandError, Server, ServerState, Unreachable
from serving.fleet.shortage import is_shortage
from serving.fleet.supervisor.decisions import Decisions
from serving.fleet.supervisor.watch import End

T = TypeVar("T")


class Traffic(Enum):
    """What a replica gets of the requests; in the order in which they are told."""

    ALL = "all"
    NONE = "none"  # none now
    LOST = "lost"  # none, and those that it has are others' to answer
    REST = "rest"  # those that it has


Wanted = Mapping[str, tuple[Server, Traffic]]
KNOWN = {"ready": Traffic.ALL, "maint": Traffic.NONE, "drain": Traffic.REST}
PAUSE = 1.0  # seconds before it is started once more
FAULTS = (Unreachable, CommandError)  # the balancer is not there, or refuses


class Edge:
    """Used from one event loop; the balancer's calls block, and are made by a thread of their own."""

    def __init__(self, balancer: Balancer, stall: float, decisions: Decisions, wake: Callable[[], None]) -> None:
        self.servers: dict[str, ServerState] = {}
        self.figures: BalancerFigures | None = None
        self.starts = 0
        self.balancer = balancer
        self._told: dict[str, Traffic] = {}
        self._fault = ""  # of the last call; noted once
        self._stall, self._decisions, self._wake = stall, decisions, wake
        self._heard = time.monotonic()
        self._again = float("-inf")  # when it may be started
        self._down: str | None = None  # why it was not started, since it was lost
        self._end: End | None = None
        self._supervisor: tuple[str, int] | None = None
        self._thread = ThreadPoolExecutor(1, "balancer")

    async def start(self, wanted: Wanted) -> None:
        """Find the balancer that runs, or start one with those that get requests.

        Raises:
            InputError: it cannot be started.
            OSError: for want of open files; what was started is found the next time.
        """
        serving = [server for server, traffic in wanted.values() if traffic is Traffic.ALL]
        await self.call(self.balancer.start, serving)
        found = await self.call(self.balancer.servers)
        self._know(found)
        self._heard = time.monotonic()
        if self._end is not None:
            self._end.close()
            self._end = None
        identity = self.balancer.identity
        if identity is None:
            return
        self._end = End(identity, self._wake)
        self.starts += 1
        self._decisions.note("balancer", f"runs, pid {identity.pid}")
        if self._supervisor is not None:
            await self.call(self.balancer.supervised_at, *self._supervisor)

    async def supervised_at(self, host: str, port: int) -> None:
        """Have the balancer send the supervisor's own paths there."""
        self._supervisor = host, port
        await self.call(self.balancer.supervised_at, host, port)

    async def sync(self, wanted: Wanted) -> None:
        """Tell it what it has not been told; start it again where it has ended or stands still.

        What it cannot be told now is told at the next call.

        Raises:
            OSError: it cannot be asked, for want of open files.
        """
        if self._end is None or not self._end.alive:
            await self._revive(wanted, "ended")
        if self._end is None or not self._end.alive:
            return
        try:
            if self._fault:  # an answer may have been lost: what was done, HAProxy itself knows
                self._know(await self.call(self.balancer.recount))
            await self._tell(wanted)
            self._fault = ""
        except FAULTS as error:
            if self._fault != str(error):
                self._decisions.note("balancer refused", str(error))
            self._fault = str(error)
            await self._suspect(wanted)
        except OSError as error:  # for want of files of our own
            self._fault = str(error)
            raise

    async def look(self, wanted: Wanted) -> None:
        """Read its figures.

        Raises:
            OSError: it cannot be asked, for want of open files.
        """
        try:
            self.figures = await self.call(self.balancer.figures)
            self.servers = await self.call(self.balancer.servers)
            self._heard = time.monotonic()
        except FAULTS:
            self.figures = None
            await self._suspect(wanted)
        except OSError:
            self.figures = None
            raise

    async def stop(self, seconds: float) -> None:
        """End it, once what is under way is answered."""
        if self._end is not None:
            self._end.close()
        await self.call(self.balancer.stop, seconds)

    def close(self) -> None:
        """Look no more; the balancer goes on."""
        if self._end is not None:
            self._end.close()
        self._thread.shutdown(wait=False)

    async def call(self, act: Callable[..., T], *arguments: object) -> T:
        """Have the balancer's thread do something."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, act, *arguments)
        except OSError as error:
            if is_shortage(error):  # it was not asked
                self._heard = time.monotonic()
            raise

    def _know(self, found: dict[str, ServerState]) -> None:
        self.servers = found
        self._told = {name: KNOWN[state.admin] for name, state in found.items()}

    async def _suspect(self, wanted: Wanted) -> None:
        if time.monotonic() - self._heard > self._stall and self.balancer.identity is not None:
            self.balancer.identity.signal(signal.SIGKILL)
            await self._revive(wanted, f"no answer for {self._stall:g} s")

    async def _revive(self, wanted: Wanted, why: str) -> None:
        """Start it again; where that fails, as on a full disk, once more after a pause."""
        now = time.monotonic()
        if now < self._again:
            return
        self._again = now + PAUSE
        if self._down is None:
            self._decisions.note("balancer lost", why, logging.WARNING)
            self._down = ""
        try:
            await self.start(wanted)
        except (InputError, OSError, *FAULTS) as error:
            if self._down != str(error):
                self._decisions.note("balancer not started", str(error), logging.ERROR)
            self._down = str(error)
        else:
            self._again, self._down = now, None

    async def _tell(self, wanted: Wanted) -> None:
        """Whoever gets requests first, so that there is always one."""
        for name, (server, traffic) in sorted(wanted.items(), key=lambda item: list(Traffic).index(item[1][1])):
            told = self._told.get(name)
            if told is traffic or (told is None and traffic is Traffic.REST):
                continue
            if told is None:
                await self.call(self.balancer.add, server)
                self._told[name] = Traffic.ALL
            if traffic is not self._told[name]:
                await self.call(self._act(traffic), name)
            self._told[name] = traffic
        for name in self._told.keys() - wanted.keys():
            await self.call(self.balancer.remove, name)
            del self._told[name]

    def _act(self, traffic: Traffic) -> Callable[[str], None]:
        acts = {
            Traffic.ALL: self.balancer.enable,
            Traffic.NONE: self.balancer.disable,
            Traffic.LOST: self.balancer.abandon,
            Traffic.REST: self.balancer.drain,
        }
        return acts[traffic]
