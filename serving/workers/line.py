"""A worker's end of a link: asks the parent, and hears what it says."""

import asyncio
import itertools
import socket
from collections.abc import Callable
from typing import Any

from serving.refusals import Unavailable
from serving.workers.messages import LENGTH, Counts, Done, Figures, Message, Recalled, Reported, pack, unpack

Answer = Figures | Done | Recalled | Counts | Reported
GONE = "the other workers cannot be reached"


class Line:
    """To the parent. What it says unasked goes to `take`. Used from one event loop."""

    def __init__(self, link: socket.socket, take: Callable[[Message], None]) -> None:
        self._socket = link
        self._take = take
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._ids = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}

    async def open(self) -> Message:
        """Take it up; the first message that is on it."""
        self._reader, self._writer = await asyncio.open_unix_connection(sock=self._socket)
        return await _read(self._reader)

    async def listen(self) -> None:
        """Hear what the parent says, until it is gone."""
        assert self._reader is not None
        try:
            while True:
                message = await _read(self._reader)
                if isinstance(message, Answer):
                    self._answered(message)
                else:
                    self._take(message)
        except (asyncio.IncompleteReadError, OSError):
            self._writer = None  # the parent is gone, and this worker will be
            for answer in self._answers.values():
                if not answer.done():
                    answer.set_exception(Unavailable(GONE))

    async def ask(self, kind: Callable[..., Message], *content: Any) -> Any:
        """The parent's answer to a message of a kind that has one, with this content.

        Raises:
            Unavailable: the parent is gone.
        """
        if self._writer is None:
            raise Unavailable(GONE)
        number = next(self._ids)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        self.say(kind(number, *content))
        try:
            return await answer
        finally:
            del self._answers[number]

    def say(self, message: Message) -> None:
        """Send a message."""
        if self._writer is not None:
            self._writer.write(pack(message))

    async def drain(self) -> None:
        """Until all that was said is sent."""
        if self._writer is not None:
            await self._writer.drain()

    def _answered(self, message: Answer) -> None:
        answer = self._answers.get(message.id)
        if answer is not None and not answer.done():
            answer.set_result(message)


async def _read(reader: asyncio.StreamReader) -> Message:
    (length,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
    return unpack(await reader.readexactly(length))
