"""The application: its parts put together, its errors in one shape, its requests counted."""

import logging
import time
from collections.abc import Callable
from typing import Any

from litestar import Litestar, Request, Response
from litestar.config.compression import CompressionConfig
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
from serving.request_id import HEADER, find_request_id
from serving.service import Service
from serving.settings import Settings
from serving.wire.json import MEDIA_TYPE, encode_error

log = logging.getLogger("serving")
AnyRequest = Request[Any, Any, State]


def build_app(service: Service, readiness: Readiness, settings: Settings, metrics: Metrics) -> Litestar:
    """The ASGI application that serves a service."""
    parts = {"service": service, "readiness": readiness, "settings": settings, "metrics": metrics}
    return Litestar(
        route_handlers=[*PREDICTIONS, *INFORMATION],
        dependencies={name: Provide(_constant(part), sync_to_thread=False) for name, part in parts.items()},
        exception_handlers={Exception: _respond},
        middleware=[_counted(metrics)],
        compression_config=_compression(settings),
        openapi_config=None,
        logging_config=None,
        request_max_body_size=None,  # `serving.body` keeps the settings' own limits
    )


def _compression(settings: Settings) -> CompressionConfig | None:
    """Off by default: smooth float32 fields shrink by a tenth, in more time than a network needs for them."""
    if not settings.gzip_level:
        return None
    return CompressionConfig("gzip", gzip_compress_level=settings.gzip_level)


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
            name = find_request_id(request.scope["headers"]) or b"without an id"
            log.error("a request failed: %s", name.decode(), exc_info=error)
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
    """Middleware that counts every answer with its route and status, and puts the request's own id on it."""

    def middleware(app: ASGIApp) -> ASGIApp:
        async def counted(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != ScopeType.HTTP:
                await app(scope, receive, send)
                return
            started = time.perf_counter()
            name = find_request_id(scope["headers"])

            async def sending(message: Message) -> None:
                if message["type"] == "http.response.start":
                    endpoint = scope.get("path_template") or "none"
                    metrics.count(endpoint, message["status"], time.perf_counter() - started)
                    if name is not None:
                        message["headers"] = [*message["headers"], (HEADER, name)]
                await send(message)

            await app(scope, receive, sending)

        return counted

    return middleware
