"""An endpoint straight from ASGI, past the framework: a client that leaves ends the work for it."""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from litestar.enums import ScopeType
from litestar.types import Receive, Scope, Send

from serving.body import read_body
from serving.connection import CLIENT, Client
from serving.failures import failure, send_response
from serving.monitoring.metrics import Metrics
from serving.refusals import WrongMethod
from serving.request_id import HEADER, find_request_id
from serving.settings import Settings


@dataclass(frozen=True, eq=False)
class Exchange:
    """A request whose body has come, and where its answer goes. `name`: the id that its client gave it."""

    headers: Mapping[bytes, bytes]
    body: bytes
    client: Client
    receive: Receive
    send: Send
    name: bytes | None

    def header(self, name: str) -> str:
        """A header of the request, '' without it."""
        return self.headers.get(name.encode(), b"").decode("latin-1")

    @property
    def named(self) -> list[tuple[bytes, bytes]]:
        """The header of the answer with the request's id, if it had one."""
        return [] if self.name is None else [(HEADER, self.name)]


class Endpoint(ABC):
    """Answers `POST` at its path; every answer is counted."""

    path: ClassVar[str]

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self.settings = settings
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        assert scope["type"] == ScopeType.HTTP
        started, name = time.perf_counter(), find_request_id(scope["headers"])
        client: Client = (scope.get("extensions") or {}).get(CLIENT) or Client()  # type: ignore[assignment]
        client.task = asyncio.current_task()
        headers: Mapping[bytes, bytes] = dict(scope["headers"])
        try:
            if scope["method"] != "POST":
                raise WrongMethod(f"method: got {scope['method']}, expected POST")
            body = await read_body(headers, receive, self.settings, whole=client.whole)
            status = await self.answer(Exchange(headers, body, client, receive, send, name))
        except asyncio.CancelledError:
            if not client.gone:
                raise
            return
        except Exception as error:
            response = failure(error, name)
            response.headers.extend([] if name is None else [(HEADER, name)])
            await send_response(response, send)
            status = response.status
        self._metrics.count(self.path, status, time.perf_counter() - started)

    @abstractmethod
    async def answer(self, exchange: Exchange) -> int:
        """Send an answer and give its status.

        What is raised becomes the answer, so nothing may be once a part of another has been sent.
        """
