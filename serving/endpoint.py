"""What every request goes through that is answered straight from ASGI, past the framework: before and after its answer.

A framework's routing and injection would cost a prediction several times what the rest of it does.
"""

import asyncio
import gzip
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from litestar.enums import ScopeType
from litestar.types import Receive, Scope, Send

from serving.body import read_body
from serving.connection import CLIENT, Client
from serving.failures import Response, failure, send_response
from serving.monitoring.metrics import Metrics
from serving.monitoring.record import Record
from serving.monitoring.recorder import Recorder
from serving.refusals import WrongMethod
from serving.request_id import HEADER, find_request_id
from serving.settings import Settings

LEFT = 499  # in records alone, as in the logs of nginx: the client has gone
Headers = list[tuple[bytes, bytes]]


@dataclass(slots=True, eq=False)
class Exchange:
    """A request, and where its answer goes if it comes in parts; `sent`: bytes of them so far.

    `name`: the id that its client or its record gave it; `record`: what takes note of it, if anything does.
    """

    path: str
    parameters: bytes
    headers: Mapping[bytes, bytes]
    client: Client
    send: Send
    name: bytes | None
    record: Record | None
    body: bytes = b""
    sent: int = 0

    def header(self, name: str) -> str:
        """A header of the request, '' without it."""
        return self.headers.get(name.encode(), b"").decode("latin-1")

    @property
    def named(self) -> Headers:
        """The header of the answer with the request's id, if it has one."""
        return [] if self.name is None else [(HEADER, self.name)]

    async def begin(self, headers: Headers) -> None:
        """Begin an answer in parts: nothing may be raised any more that is to become an answer."""
        head = [*headers, *self.named]
        await self.send({"type": "http.response.start", "status": 200, "headers": head})

    async def write(self, content: bytes, *, more: bool = True) -> None:
        """Send a part once the connection has room, so that what it holds is bounded."""
        self.sent += len(content)
        await self.send({"type": "http.response.body", "body": content, "more_body": more})


class Endpoint(ABC):
    """Answers `POST` at its paths; every answer is counted, and a client that leaves ends the work for it."""

    paths: ClassVar[tuple[str, ...]]

    def __init__(self, settings: Settings, metrics: Metrics, recorder: Recorder) -> None:
        self.settings = settings
        self._metrics = metrics
        self._recorder = recorder if recorder.is_on else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        assert scope["type"] == ScopeType.HTTP
        started, endpoint, headers = time.perf_counter(), self.route(scope["path"]), scope["headers"]
        client: Client = (scope.get("extensions") or {}).get(CLIENT) or Client()  # type: ignore[assignment]
        client.task = asyncio.current_task()
        record = self._recorder.begin(endpoint, headers) if self._recorder else None
        name = find_request_id(headers) if record is None else record.request_id.encode()
        exchange = Exchange(scope["path"], scope["query_string"], dict(headers), client, send, name, record)
        try:
            answer = await self._answered(exchange, scope["method"], receive)
        except asyncio.CancelledError:
            self._end(record, LEFT, exchange.sent)
            if not client.gone:
                raise
            return
        if isinstance(answer, Response):
            client.task = None  # sending ends by itself
            answer = self._packed(answer, exchange)
            await send_response(answer, send)
            exchange.sent, answer = len(answer.content), answer.status
        self._metrics.count(endpoint, answer, time.perf_counter() - started)
        self._end(record, answer, exchange.sent)

    def route(self, path: str) -> str:
        """Which of `paths` a path is of."""
        return self.paths[0]

    @abstractmethod
    async def answer(self, exchange: Exchange) -> Response | int:
        """The answer; or, of one that was sent in parts, the status that it came to.

        What is raised becomes the answer, so nothing may be once a part of another has been sent.
        """

    async def _answered(self, exchange: Exchange, method: str, receive: Receive) -> Response | int:
        try:
            if method != "POST":
                raise WrongMethod(f"method: got {method}, expected POST")
            exchange.body = await read_body(exchange.headers, receive, self.settings, whole=exchange.client.whole)
            if exchange.record is not None:
                exchange.record.bytes_in = len(exchange.body)
            return await self.answer(exchange)
        except Exception as error:
            return failure(error, exchange.name, exchange.record)

    def _packed(self, response: Response, exchange: Exchange) -> Response:
        """With the request's id, and compressed where that is set and asked for."""
        status, headers, content = response
        if exchange.name is not None:
            headers = [*headers, *exchange.named]
        if self.settings.gzip_level and b"gzip" in exchange.headers.get(b"accept-encoding", b""):
            content = gzip.compress(content, self.settings.gzip_level)
            headers = [*headers, (b"content-encoding", b"gzip"), (b"vary", b"accept-encoding")]
        return Response(status, headers, content)

    def _end(self, record: Record | None, status: int, sent: int) -> None:
        if self._recorder and record:
            self._recorder.end(record, status, sent)
