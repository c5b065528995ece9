"""The application: its parts put together, its errors in one shape, its requests counted."""

import logging
import time
from collections.abc import Callable
from typing import Any

from litestar import Litestar, Request, Response
from litestar.datastructures import State
from litestar.di import Provide
from litestar.enums import ScopeType
from litestar.exceptions import HTTPException
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from pnol_jax.errors import InputError
from serving.information import INFORMATION
from serving.metrics import Metrics
from serving.predictions import PREDICTIONS
from serving.readiness import Readiness
from serving.refusals import Refusal, Unavailable
from serving.releases import ReleasingService
from serving.releases.endpoints import RELEASES
from serving.releases.figures import ReleaseFigures
from serving.repository.endpoints import REPOSITORY
from serving.settings import Settings
from serving.wire.json import MEDIA_TYPE, encode_error

log = logging.getLogger("serving")
AnyRequest = Request[Any, Any, State]


def build_app(service: ReleasingService, readiness: Readiness, settings: Settings) -> Litestar:
    """The ASGI application that serves a service."""
    metrics = Metrics(service)
    metrics.register(ReleaseFigures(service))
    parts = {"service": service, "readiness": readiness, "settings": settings, "metrics": metrics}
    return Litestar(
        route_handlers=[*PREDICTIONS, *INFORMATION, *REPOSITORY, *RELEASES],
        dependencies={name: Provide(_constant(part), sync_to_thread=False) for name, part in parts.items()},
        exception_handlers={Exception: _respond},
        middleware=[_counted(metrics)],
        openapi_config=None,
        logging_config=None,
        request_max_body_size=None,  # `serving.body` keeps the settings' own limits
    )


def _constant(value: Any) -> Callable[[], Any]:
    def give() -> Any:
        return value

    return give


def _respond(request: AnyRequest, error: Exception) -> Response[bytes]:
    """Every error is `{"error": message}`; what is not the caller's fault is not told in detail."""
    headers: dict[str, str] = {}
    match error:
        case Unavailable():
            status, message = error.status, str(error)
            headers["retry-after"] = str(error.retry_after)
        case Refusal():
            status, message = error.status, str(error)
        case InputError():
            status, message = 400, str(error)
        case HTTPException():
            status, headers = error.status_code, dict(error.headers or {})
            message = _explained(request, error)
        case _:
            log.error("a request failed", exc_info=error)
            status, message = 500, "internal error"
    if status in (408, 413):
        headers["connection"] = "close"  # the rest of the body is not read
    return Response(encode_error(message), status_code=status, media_type=MEDIA_TYPE, headers=headers)


def _explained(request: AnyRequest, error: HTTPException) -> str:
    """What was got and what was expected, where the framework says neither."""
    match error.status_code:
        case 404:
            paths = sorted(route.path for route in request.app.routes)
            return f"path: got {request.url.path!r}, expected one of {paths}"
        case 405:
            return f"method: got {request.method}, expected {(error.headers or {}).get('allow')}"
    return error.detail


def _counted(metrics: Metrics) -> Any:
    """Middleware that counts every answer with its route and status."""

    def middleware(app: ASGIApp) -> ASGIApp:
        async def counted(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != ScopeType.HTTP:
                await app(scope, receive, send)
                return
            started = time.perf_counter()

            async def sending(message: Message) -> None:
                if message["type"] == "http.response.start":
                    endpoint = scope.get("path_template") or "none"
                    metrics.count(endpoint, message["status"], time.perf_counter() - started)
                await send(message)

            await app(scope, receive, sending)

        return counted

    return middleware
