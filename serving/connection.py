"""One HTTP connection: uvicorn's on httptools, with the limits that it lacks on a request's head.

The body's limits are kept where the body is read (`serving.predictions`).
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serving.settings import Settings
from serving.wire.json import encode_error

_PHRASES = {400: b"Bad Request", 431: b"Request Header Fields Too Large", 503: b"Service Unavailable"}


CLIENT = "pnol.client"  # the name of a `Client` among a scope's extensions


@dataclass
class Client:
    """Whoever sent a request: whether all of it is here, and the task that answers it, cancelled when they leave.

    `abort` ends the connection without waiting for what they have not read.
    """

    whole: bool = False
    task: asyncio.Task[Any] | None = None
    gone: bool = False
    abort: Callable[[], None] | None = None

    def leave(self) -> None:
        """The connection is lost."""
        self.gone = True
        if self.task is not None:
            self.task.cancel()


class _HeadTooLargeError(Exception):
    pass


class Connection(HttpToolsProtocol):
    """Refuses heads that are too large, too slow or malformed, and connections beyond the limit, in JSON.

    A client that closes its side of the connection has left, and what it asked is dropped: nobody can tell that from
    one that only has no more to say, and clients that gave up must not keep the engine busy.
    """

    def __init__(self, *, settings: Settings, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._settings = settings
        self._head_open = False
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._client = Client()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept, unless there are too many."""
        super().connection_made(transport)
        if len(self.connections) > self._settings.max_connections:
            self._refuse(503, f"too many connections, expected at most {self._settings.max_connections}")
        else:
            self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock, and the work that nobody waits for any more."""
        self._disarm()
        waited_for = self.cycle is not None and not self.cycle.response_complete
        super().connection_lost(exc)
        if waited_for:
            self._client.leave()

    def data_received(self, data: bytes) -> None:
        """Feed the parser; a head that goes on for too long ends the connection."""
        was_open = self._head_open
        if self.transport.is_closing():
            return
        super().data_received(data)
        if was_open and self._head_open:
            self._head_bytes += len(data)
            if self._head_bytes > self._settings.max_header_bytes:
                self._refuse_head()

    def on_message_begin(self) -> None:
        """The head of a request begins."""
        super().on_message_begin()
        self._head_open, self._head_bytes = True, 0
        self._arm()

    def on_headers_complete(self) -> None:
        """The head is complete."""
        self._head_open = False
        self._disarm()
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if size > self._settings.max_header_bytes:
            self._refuse_head()
            raise _HeadTooLargeError
        self._client = Client(abort=self.transport.abort)
        self.scope["extensions"] = {CLIENT: self._client}  # type: ignore[dict-item]
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The body is complete."""
        self._client.whole = True
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """What cannot be parsed."""
        if not self.transport.is_closing():  # else it was refused already, for a better reason
            self._refuse(400, "not an HTTP/1.1 request")

    def _refuse_head(self) -> None:
        self._refuse(431, f"the request's head is larger than {self._settings.max_header_bytes} bytes")

    def _refuse(self, status: int, message: str) -> None:
        body = encode_error(message)
        head = b"HTTP/1.1 %d %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        self.transport.write(head % (status, _PHRASES[status], len(body)) + body)
        self.transport.close()

    def _arm(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self._settings.header_seconds, self.transport.close)

    def _disarm(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
