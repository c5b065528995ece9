"""The application: its parts put together, its errors in one shape, its requests counted."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from litestar import Litestar, Request, asgi
from litestar import Response as Answered
from litestar.config.compression import CompressionConfig
from litestar.datastructures import State
from litestar.di import Provide
from litestar.enums import ScopeType
from litestar.exceptions import HTTPException
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send
from litestar.utils import normalize_path

from serving.access import Guard
from serving.derivatives import DerivativesEndpoint
from serving.endpoint import Endpoint
from serving.failures import Response, failure, send_response
from serving.information import INFORMATION
from serving.monitoring.disks import Disk
from serving.monitoring.metrics import Metrics
from serving.monitoring.record import RECORD
from serving.monitoring.recorder import Recorder
from serving.predictions import Predictions, asked
from serving.readiness import Readiness
from serving.refusals import Refusal, Unavailable
from serving.releases.endpoints import RELEASES
from serving.releases.figures import DriftFigures, TrafficFigures
from serving.releases.service import ReleasingService
from serving.repository.endpoints import REPOSITORY
from serving.request_id import HEADER, find_request_id
from serving.rollouts import RolloutEndpoint, RolloutFigures, Rollouts
from serving.settings import Settings
from serving.wire.json import MEDIA_TYPE, encode_error
from serving.workers.team import Team

AnyRequest = Request[Any, Any, State]


def build_app(
    service: ReleasingService,
    readiness: Readiness,
    settings: Settings,
    metrics: Metrics,
    recorder: Recorder,
    team: Team,
    guard: Guard | None,
) -> ASGIApp:
    """The ASGI application that serves a service: Litestar's, past which requests that predict go straight."""
    metrics.register(TrafficFigures(service))
    metrics.register(DriftFigures(service))
    metrics.register(Disk(settings.executables))
    rollouts = Rollouts(service, settings)
    metrics.register(RolloutFigures(rollouts))
    predictions = Predictions(service, settings, metrics, recorder)
    endpoints: list[Endpoint] = [
        predictions,
        RolloutEndpoint(rollouts, settings, metrics, recorder),
        DerivativesEndpoint(service, settings, metrics, recorder),
    ]
    parts = {"service": service, "readiness": readiness, "settings": settings, "team": team}
    litestar = _litestar(endpoints, parts, settings, metrics, recorder)
    direct = {path: endpoint for endpoint in endpoints for path in endpoint.paths}

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP:
            _normalise(scope)
            if guard is not None:
                try:
                    guard.admit(scope["path"], scope["headers"])
                except (Refusal, Unavailable) as error:
                    await _refuse(error, scope, send, metrics, recorder)
                    return
            endpoint = direct.get(scope["path"]) or (predictions if asked(scope["path"]) else None)
            if endpoint is not None:
                await endpoint(scope, receive, send)
                return
        await litestar(scope, receive, send)

    return application


def _normalise(scope: HTTPScope) -> None:
    """Write the path as the router reads it, so that all judge the same."""
    if "//" in scope["path"] or scope["path"].endswith("/"):
        scope["path"] = normalize_path(scope["path"])


def _litestar(
    endpoints: Sequence[Endpoint], parts: Mapping[str, Any], settings: Settings, metrics: Metrics, recorder: Recorder
) -> Litestar:
    """All routes, those that `application` goes to by itself among them, as the router names them."""
    return Litestar(
        route_handlers=[
            *(asgi(list(endpoint.paths), copy_scope=False)(endpoint.__call__) for endpoint in endpoints),
            *INFORMATION,
            *REPOSITORY,
            *RELEASES,
        ],
        dependencies={name: Provide(_constant(part), sync_to_thread=False) for name, part in parts.items()},
        exception_handlers={Exception: _respond},
        middleware=[_counted(metrics, recorder)],
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


async def _refuse(error: Exception, scope: HTTPScope, send: Send, metrics: Metrics, recorder: Recorder) -> None:
    """Answer a request that is not let in, without reading its body."""
    record = recorder.begin("refused", scope["headers"]) if recorder.is_on else None
    response = failure(error, find_request_id(scope["headers"]), record)
    response.headers.append((b"connection", b"close"))
    await send_response(response, send)
    metrics.count("refused", response.status, 0.0)
    if record is not None:
        recorder.end(record, response.status, len(response.content))


def _respond(request: AnyRequest, error: Exception) -> Answered[bytes]:
    if isinstance(error, HTTPException):
        named = {"content-type": MEDIA_TYPE, **(error.headers or {})}
        headers = [(name.encode(), value.encode()) for name, value in named.items()]
        response = Response(error.status_code, headers, encode_error(_explained(request, error)))
    else:
        response = failure(error, find_request_id(request.scope["headers"]), RECORD.get())
    plain = {name.decode(): value.decode() for name, value in response.headers}
    return Answered(response.content, status_code=response.status, headers=plain)


def _explained(request: AnyRequest, error: HTTPException) -> str:
    """What was got and what was expected, where the framework says neither."""
    match error.status_code:
        case 404:
            paths = sorted(route.path for route in request.app.routes)
            return f"path: got {request.url.path!r}, expected one of {paths}"
        case 405:
            return f"method: got {request.method}, expected {(error.headers or {}).get('allow')}"
    return error.detail


def _counted(metrics: Metrics, recorder: Recorder) -> Any:
    """Middleware that counts every answer with its route and status, and puts the request's own id on it."""

    def middleware(app: ASGIApp) -> ASGIApp:
        async def counted(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != ScopeType.HTTP:
                await app(scope, receive, send)
                return
            started = time.perf_counter()
            record = recorder.begin("none", scope["headers"]) if recorder.is_on else None
            name = record.request_id.encode() if record else find_request_id(scope["headers"])
            status = sent = 0

            async def sending(message: Message) -> None:
                nonlocal status, sent
                if message["type"] == "http.response.start":
                    status = message["status"]
                    metrics.count(scope.get("path_template") or "none", status, time.perf_counter() - started)
                    if name is not None:
                        message["headers"] = [*message["headers"], (HEADER, name)]
                elif message["type"] == "http.response.body":
                    sent += len(message["body"])
                    if record is not None and not message["more_body"]:
                        record.endpoint = scope.get("path_template") or "none"
                        recorder.end(record, status, sent)
                await send(message)

            await app(scope, receive, sending)

        return counted

    return middleware
