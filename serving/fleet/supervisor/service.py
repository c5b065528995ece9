"""The supervisor's own HTTP service, in the loop that tends the fleet."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import uvicorn
from litestar import Litestar, Request, Response
from litestar.datastructures import State
from litestar.di import Provide
from litestar.enums import ScopeType
from litestar.exceptions import HTTPException
from litestar.types import ASGIApp, Receive, Scope, Send

from pnol_jax.errors import InputError
from serving.access import Guard
from serving.fleet.page import BELOW, PAGE
from serving.fleet.supervisor.endpoints import ENDPOINTS
from serving.fleet.supervisor.reading import Reading
from serving.fleet.supervisor.supervisor import Supervisor
from serving.refusals import Refusal, Unavailable
from serving.tokens import Scope as Right

BODY_BYTES = 2**16
DRAIN_SECONDS = 5
log = logging.getLogger("serving.fleet")


def build_service(fleet: Supervisor, reading: Reading, guard: Guard | None) -> Litestar:
    """The application; a guard lets in who has a token: `read` for GET, `manage` for what changes the fleet."""
    parts = {"fleet": fleet, "reading": reading}
    return Litestar(
        route_handlers=[*ENDPOINTS, *PAGE],
        dependencies={name: Provide(_constant(part), sync_to_thread=False) for name, part in parts.items()},
        exception_handlers={Exception: _respond},
        middleware=[] if guard is None else [_guarded(guard)],
        openapi_config=None,
        logging_config=None,
        request_max_body_size=BODY_BYTES,
    )


class Service(uvicorn.Server):
    """A server that leaves signals to the supervisor."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=DRAIN_SECONDS,
            )
        )
        self._task: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Nothing is captured."""
        yield

    def begin(self, listener: socket.socket) -> None:
        """Serve on a socket from now on."""
        self._task = asyncio.create_task(self.serve(sockets=[listener]))

    async def finish(self) -> None:
        """Answer what was asked."""
        self.should_exit = True
        if self._task is not None:
            await self._task


def _guarded(guard: Guard) -> Callable[[ASGIApp], ASGIApp]:
    def middleware(app: ASGIApp) -> ASGIApp:
        async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == ScopeType.HTTP:
                guard.require(right(scope["method"], scope["path"]), scope["headers"])
            await app(scope, receive, send)

        return guarded

    return middleware


def right(method: str, path: str) -> Right | None:
    """The scope that a request needs; probes need none, nor the page, which asks for a token itself."""
    if path in ("/health", "/monitoring") or path.startswith(BELOW):
        return None
    return "read" if method in ("GET", "HEAD") else "manage"


def _constant(value: Any) -> Callable[[], Any]:
    def give() -> Any:
        return value

    return give


def _respond(_: Request[Any, Any, State], error: Exception) -> Response[bytes]:
    headers: dict[str, str] = {}
    match error:
        case Unavailable():
            status, said = error.status, str(error)
            headers["retry-after"] = str(error.retry_after)
        case Refusal():
            status, said = error.status, str(error)
        case InputError():
            status, said = 400, str(error)
        case HTTPException():
            status, said = error.status_code, error.detail
            headers.update(error.headers or {})
        case _:
            log.error("a request failed", exc_info=error)
            status, said = 500, "internal error"
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    return Response(
        msgspec.json.encode({"error": said}), status_code=status, headers=headers, media_type="application/json"
    )
