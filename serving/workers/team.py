"""A worker's part in what all know of each other; a process that is alone is a team of one."""

import asyncio
import logging
from typing import Any

from pnol_jax.errors import InputError
from serving.monitoring.drifting import with_drift
from serving.monitoring.exposition import plain
from serving.monitoring.families import Families, Family, merge
from serving.monitoring.metrics import Metrics
from serving.refusals import NotFound, Refusal, Unavailable
from serving.releases.figures import miss_metrics, truth_metrics
from serving.releases.packing import pack_asked
from serving.releases.service import ReleasingService
from serving.repository import Repository
from serving.repository.demand import adopt, asked_of, load_model, unload_model
from serving.workers.line import Line
from serving.workers.messages import Act, Begin, Do, Done, Figures, Message, Ready, Recall, Recalled, Tell
from serving.workers.role import Member
from serving.workers.truths import Shared

log = logging.getLogger("serving")
PATIENCE = 5.0  # seconds for the parent to gather all figures, or for all to look at the folder
ALONE = Family("pnol_workers", "Workers that take requests.", "gauge", "max", (("pnol_workers", (), 1.0),))


class Team:
    """Figures and truths of all workers, and acts that reach them all. Used from one event loop."""

    def __init__(self, service: ReleasingService, metrics: Metrics, member: Member | None) -> None:
        self._service = service
        self._metrics = metrics
        self._line = None if member is None else Line(member.link, self._take)
        if self._line is not None:
            service.truths = Shared(service.memory, self._line, self.look)
        self._gathering: asyncio.Task[Families] | None = None
        self._acting = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    async def begin(self) -> None:
        """Take up the link, and what requests have said of versions to those that were here before."""
        if self._line is None:
            return
        message = await self._line.open()
        if isinstance(message, Begin):
            adopt(self._service.repository, message.asked)
        self._keep(self._line.listen())

    def ready(self) -> None:
        """Tell that this worker takes requests."""
        if self._line is not None:
            self._line.say(Ready())

    async def leave(self) -> None:
        """Tell what was counted, for the last time."""
        if self._line is not None:
            self._line.say(self._own_figures(0))
            await self._line.drain()

    async def figures(self) -> Families:
        """The figures of all workers.

        Raises:
            Unavailable: the parent could not gather them.
        """
        families, accounts = await self._all(), await self._service.truths.accounts()
        counted = *truth_metrics(accounts), *miss_metrics(accounts, self._service.repository.catalogue)
        return with_drift((*families, *plain(counted)))

    async def act(self, act: Act) -> None:
        """Have something done by all workers.

        Raises:
            InputError, Refusal, Unavailable: why one of them could not.
        """
        if self._line is None:
            await asyncio.to_thread(perform, self._service.repository, act)
            return
        async with self._acting:
            done = await self._line.ask(Do, act)
        if done.error is not None:
            raise _FAULTS.get(done.status, Refusal)(done.error)

    async def look(self) -> None:
        """Have all look at the folder: something in it was changed by this one."""
        try:
            async with asyncio.timeout(PATIENCE):
                await self.act(Act("look"))
        except (InputError, Unavailable, TimeoutError) as error:  # they look by themselves, later
            log.warning("not all workers have looked at the folder: %s", str(error) or "one of them takes long")

    async def _all(self) -> Families:
        if self._line is None:
            return merge({"0": (*self._metrics.families(), ALONE)})
        if self._gathering is None or self._gathering.done():
            self._gathering = asyncio.create_task(self._gather(self._line))
        return await asyncio.shield(self._gathering)

    async def _gather(self, line: Line) -> Families:
        try:
            async with asyncio.timeout(PATIENCE):
                found: Families = (await line.ask(Tell)).families
        except TimeoutError:  # figures of this one alone would be counters that fall
            raise Unavailable("the figures of all workers could not be gathered in time") from None
        return found

    def _own_figures(self, number: int) -> Figures:
        return Figures(number, self._metrics.families(), asked_of(self._service.repository))

    def _take(self, message: Message) -> None:
        assert self._line is not None
        match message:
            case Tell(number):
                self._line.say(self._own_figures(number))
            case Recall(number, name):
                found = self._service.memory.find(name)
                self._line.say(Recalled(number, [asked if asked is None else pack_asked(asked) for asked in found]))
            case Do():
                self._keep(self._do(self._line, message))

    async def _do(self, line: Line, message: Do) -> None:
        error, status, repository = None, 200, self._service.repository
        try:
            await asyncio.to_thread(perform, repository, message.act)
        except InputError as failed:
            error, status = str(failed), getattr(failed, "status", 400)
        except Exception as failed:  # said to whoever asked; this worker goes on
            log.exception("%s could not be done", message.act)
            error, status = str(failed) or type(failed).__name__, 503
        if message.id:
            line.say(Done(message.id, error, status, asked_of(repository)))

    def _keep(self, work: Any) -> None:
        """Run beside the requests; the loop itself keeps no hold of its tasks."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


_FAULTS: dict[int, type[Refusal] | type[Unavailable]] = {404: NotFound, 503: Unavailable}


def perform(repository: Repository, act: Act) -> None:
    """Do it in this process; waits until it is done."""
    match act.what:
        case "load":
            load_model(repository, act.model, act.version)
        case "unload":
            unload_model(repository, act.model, act.version)
        case "look":
            repository.refresh()
