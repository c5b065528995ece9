"""A worker's part in what all know of each other; a process that is alone is a team of one."""

import asyncio
import itertools
import logging
import socket
from typing import Any

from pnol_jax.errors import InputError
from serving.monitoring.drifting import with_drift
from serving.monitoring.families import Families, Family, merge
from serving.monitoring.metrics import Metrics
from serving.refusals import NotFound, Refusal, Unavailable
from serving.repository import Repository
from serving.repository.demand import adopt, asked_of, load_model, unload_model
from serving.workers.messages import LENGTH, Act, Begin, Do, Done, Figures, Message, Ready, Tell, pack, unpack

log = logging.getLogger("serving")
PATIENCE = 5.0  # seconds for the parent to gather all figures
ALONE = Family("pnol_workers", "Workers that take requests.", "gauge", "max", (("pnol_workers", (), 1.0),))


class Team:
    """Figures of all workers, and acts that reach them all. Used from one event loop."""

    def __init__(self, repository: Repository, metrics: Metrics, link: socket.socket | None, number: int = 0) -> None:
        self.number = number
        self._repository = repository
        self._metrics = metrics
        self._socket = link
        self._writer: asyncio.StreamWriter | None = None
        self._ids = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._gathering: asyncio.Task[Families] | None = None
        self._acting = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    async def begin(self) -> None:
        """Take up the link, and what requests have said of versions to those that were here before."""
        loop = asyncio.get_running_loop()
        self._repository.on_write.append(lambda: loop.call_soon_threadsafe(self.announce))
        if self._socket is None:
            return
        reader, self._writer = await asyncio.open_unix_connection(sock=self._socket)
        message = await _read(reader)
        if isinstance(message, Begin):
            adopt(self._repository, message.asked)
        self._keep(self._listen(reader))

    def ready(self) -> None:
        """Tell that this worker takes requests."""
        self._say(Ready())

    async def leave(self) -> None:
        """Tell what was counted, for the last time."""
        if self._writer is not None:
            self._say(Figures(0, self._metrics.families(), asked_of(self._repository)))
            await self._writer.drain()

    async def figures(self) -> Families:
        """The figures of all workers.

        Raises:
            Unavailable: the parent could not gather them.
        """
        return with_drift(await self._all())

    async def _all(self) -> Families:
        if self._writer is None:
            return merge({str(self.number): (*self._metrics.families(), ALONE)})
        if self._gathering is None or self._gathering.done():
            self._gathering = asyncio.create_task(self._gather())
        return await asyncio.shield(self._gathering)

    async def act(self, act: Act) -> None:
        """Have something done by all workers.

        Raises:
            InputError, Refusal, Unavailable: why one of them could not.
        """
        if self._writer is None:
            await asyncio.to_thread(perform, self._repository, act)
            return
        async with self._acting:
            done = await self._ask(Do(next(self._ids), act))
        if done.error is not None:
            raise _FAULTS.get(done.status, Refusal)(done.error)

    def announce(self) -> None:
        """Have all look at the folder: something in it was changed by this one."""
        if self._writer is not None:
            self._keep(self._look())

    async def _look(self) -> None:
        try:
            await self.act(Act("look"))
        except (InputError, Unavailable) as error:  # they look by themselves, later
            log.warning("not all workers have looked at the folder: %s", error)

    async def _gather(self) -> Families:
        try:
            async with asyncio.timeout(PATIENCE):
                found: Families = (await self._ask(Tell(next(self._ids)))).families
        except TimeoutError:  # figures of this one alone would be counters that fall
            raise Unavailable("the figures of all workers could not be gathered in time") from None
        return found

    async def _ask(self, message: Tell | Do) -> Any:
        answer = self._answers[message.id] = asyncio.get_running_loop().create_future()
        self._say(message)
        try:
            return await answer
        finally:
            del self._answers[message.id]

    def _say(self, message: Message) -> None:
        if self._writer is not None:
            self._writer.write(pack(message))

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        try:
            while True:
                self._take(await _read(reader))
        except (asyncio.IncompleteReadError, OSError):
            self._writer = None  # the parent is gone, and this worker will be
            for answer in self._answers.values():
                if not answer.done():
                    answer.set_exception(Unavailable("the other workers cannot be reached"))

    def _take(self, message: Message) -> None:
        match message:
            case Tell():
                self._say(Figures(message.id, self._metrics.families(), asked_of(self._repository)))
            case Do():
                self._keep(self._do(message))
            case Figures() | Done():
                answer = self._answers.get(message.id)
                if answer is not None and not answer.done():
                    answer.set_result(message)

    async def _do(self, message: Do) -> None:
        error, status = None, 200
        try:
            await asyncio.to_thread(perform, self._repository, message.act)
        except InputError as failed:
            error, status = str(failed), getattr(failed, "status", 400)
        except Exception as failed:  # said to whoever asked; this worker goes on
            log.exception("%s could not be done", message.act)
            error, status = str(failed) or type(failed).__name__, 503
        if message.id:
            self._say(Done(message.id, error, status, asked_of(self._repository)))

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


async def _read(reader: asyncio.StreamReader) -> Message:
    (length,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
    return unpack(await reader.readexactly(length))
