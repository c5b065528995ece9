"""One HTTP connection: uvicorn's on httptools, with the limits that it lacks on a request's head.

The body's limits are kept where the body is read (`serving.body`).
"""

import asyncio
from dataclasses import dataclass
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serving.flow import Flow
from serving.settings import Settings
from serving.wire.json import encode_error

_PHRASES = {400: b"Bad Request", 431: b"Request Header Fields Too Large", 503: b"Service Unavailable"}


CLIENT = "pnol.client"  # the name of a `Client` among a scope's extensions


@dataclass
class Client:
    """Whoever sent a request: whether all of it is here, and the task that answers it, cancelled when they leave."""

    whole: bool = False
    task: asyncio.Task[Any] | None = None
    gone: bool = False

    def leave(self) -> None:
        """The connection is lost."""
        self.gone = True
        if self.task is not None:
            self.task.cancel()


class _HeadTooLargeError(Exception):
    pass


class Connection(HttpToolsProtocol):
    """Refuses heads that are too large, too slow or malformed, and connections beyond the limit, in JSON.

    Every state of a connection has a limit of time: a head, what comes after an answer and is none, a body (where it
    is read), an answer that is computed (its deadline), one that is not taken, and silence.

    A client that closes its side of the connection has left, and what it asked is dropped: nobody can tell that from
    one that only has no more to say, and clients that gave up must not keep the engine busy.
    """

    def __init__(self, *, settings: Settings, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._settings = settings
        self._head_open = False
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._send_timer: asyncio.TimerHandle | None = None
        self._client = Client()
        self._answered: Any = None  # the request that is being answered, as uvicorn has it

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept, unless there are too many."""
        super().connection_made(transport)
        self.flow = Flow(transport, self.pipeline)
        if len(self.connections) > self._settings.max_connections:
            self._refuse(503, f"too many connections, expected at most {self._settings.max_connections}")
        else:
            self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clocks, and the work that nobody waits for any more."""
        self._disarm()
        self._disarm_send()
        answered = self._answered
        waited_for = answered is not None and not answered.response_complete
        if waited_for:
            answered.disconnected = True  # uvicorn only says so to the request that came last
        super().connection_lost(exc)
        if waited_for:
            answered.scope["extensions"][CLIENT].leave()

    def data_received(self, data: bytes) -> None:
        """Feed the parser; a head that goes on for too long ends the connection."""
        open_head = self.scope if self._head_open else None
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self._head_open:
            if open_head is self.scope:
                self._head_bytes += len(data)
                if self._head_bytes > self._settings.max_header_bytes:
                    self._refuse_head()
        elif self.cycle is not None and self.cycle.response_complete:
            self._arm()  # empty lines, or the rest of a body that nobody reads

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
        self._client = Client()
        self.scope["extensions"] = {CLIENT: self._client}  # type: ignore[dict-item]
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The body is complete."""
        self._client.whole = True
        super().on_message_complete()

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._answered = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """The answer is written, but may not be sent yet."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._arm_send()

    def timeout_keep_alive_handler(self) -> None:
        """No next request has come; the rest of the last answer is not waited for without end."""
        super().timeout_keep_alive_handler()
        self._arm_send()

    def pause_writing(self) -> None:
        """The client takes its answer more slowly than it is written."""
        super().pause_writing()
        self._arm_send()

    def resume_writing(self) -> None:
        """It has taken most of it."""
        super().resume_writing()
        if not self.transport.is_closing():
            self._disarm_send()

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
            self._head_timer = self.loop.call_later(self._settings.header_seconds, self._head_is_late)

    def _head_is_late(self) -> None:
        self._head_timer = None
        if self.pipeline:  # it is we who do not read on
            self._arm()
        else:
            self.transport.close()
            self._arm_send()

    def _disarm(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _arm_send(self) -> None:
        if self._send_timer is None and self.transport.get_write_buffer_size():
            self._send_timer = self.loop.call_later(self._settings.send_seconds, self.transport.abort)

    def _disarm_send(self) -> None:
        if self._send_timer is not None:
            self._send_timer.cancel()
            self._send_timer = None
