"""The requests that predict, `POST /predict` and the Open Inference Protocol's infer, straight from ASGI.

They are what the service is for: a framework's routing and injection would cost several times what the rest of them
does. Everything else is the framework's.
"""

import asyncio
import time
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import parse_qsl

from litestar.enums import ScopeType
from litestar.types import HTTPScope, Receive, Scope, Send

from serving.body import read_body
from serving.connection import CLIENT, Client
from serving.failures import Response, failure
from serving.metrics import Metrics
from serving.query import Query
from serving.refusals import Refusal, Unsupported, WrongMethod
from serving.service import Answer, Service
from serving.settings import Settings
from serving.wire import json, npy, v2

PREDICT = "/predict"
INFER, INFER_VERSION = "/v2/models/{name:str}/infer", "/v2/models/{name:str}/versions/{number:str}/infer"
ENDPOINTS = (PREDICT, INFER, INFER_VERSION)
Headers = Mapping[bytes, bytes]


class Asked(NamedTuple):
    """Which of the endpoints a path is of, and the model and version in it."""

    endpoint: str
    model: str = ""
    version: str | None = None


def asked(path: str) -> Asked | None:
    """What a path asks to predict; None if it is another endpoint's."""
    if path == PREDICT:
        return Asked(PREDICT)
    if not path.endswith("/infer"):
        return None
    match path.split("/"):
        case ["", "v2", "models", name, "infer"]:
            return Asked(INFER, name)
        case ["", "v2", "models", name, "versions", version, "infer"]:
            return Asked(INFER_VERSION, name, version)
    return None


class Predictions:
    """Answers requests that predict; every answer is counted."""

    def __init__(self, service: Service, settings: Settings, metrics: Metrics) -> None:
        self._service = service
        self._settings = settings
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one, whose path is `asked`; a client that leaves takes its request out of the engine."""
        started, request = time.perf_counter(), asked(scope["path"])
        assert scope["type"] == ScopeType.HTTP
        assert request is not None
        client: Client | None = (scope.get("extensions") or {}).get(CLIENT)  # type: ignore[assignment]
        if client is not None:
            client.task = asyncio.current_task()
        try:
            response = await self._respond(request, scope, receive, whole=client is not None and client.whole)
        except asyncio.CancelledError:
            if client is None or not client.gone:
                raise
            return
        head = [(b"content-length", b"%d" % len(response.content)), *response.headers]
        await send({"type": "http.response.start", "status": response.status, "headers": head})
        await send({"type": "http.response.body", "body": response.content, "more_body": False})
        self._metrics.count(request.endpoint, response.status, time.perf_counter() - started)

    async def _respond(self, request: Asked, scope: HTTPScope, receive: Receive, *, whole: bool) -> Response:
        headers: Headers = dict(scope["headers"])
        try:
            if scope["method"] != "POST":
                raise WrongMethod(f"method: got {scope['method']}, expected POST")
            body = await read_body(headers, receive, self._settings, whole=whole)
            if request.endpoint == PREDICT:
                return await self._predict(headers, scope["query_string"], body)
            return await self._infer(request, headers, body)
        except Exception as error:
            return failure(error)

    async def _predict(self, headers: Headers, parameters: bytes, body: bytes) -> Response:
        """Answers in the request's format unless `Accept` names the other."""
        media_type = _media_type(headers.get(b"content-type", json.MEDIA_TYPE.encode()))
        if media_type not in (json.MEDIA_TYPE, npy.MEDIA_TYPE):
            raise Unsupported(f"content-type: got {media_type!r}, expected {json.MEDIA_TYPE!r} or {npy.MEDIA_TYPE!r}")
        query = _npy_query(body, parameters) if media_type == npy.MEDIA_TYPE else json.decode_query(body)
        answer = await self._service.answer(query)
        if _accepted(headers, media_type) == npy.MEDIA_TYPE:
            content, about = npy.encode_answer(answer)
            return _response(npy.MEDIA_TYPE, content, about)
        return _response(json.MEDIA_TYPE, json.encode_answer(answer))

    async def _infer(self, request: Asked, headers: Headers, body: bytes) -> Response:
        length = headers.get(v2.HEADER_LENGTH.encode())
        text = None if length is None else length.decode("latin-1")
        query, wanted = v2.decode_query(body, text, request.model, request.version)
        answer: Answer = await self._service.answer(query)
        content, about = v2.encode_answer(answer, wanted)
        return _response(v2.BINARY_MEDIA_TYPE if about else json.MEDIA_TYPE, content, about)


def _response(media_type: str, content: bytes, about: Mapping[str, str] | None = None) -> Response:
    named = {"content-type": media_type, **(about or {})}
    return Response(200, [(name.encode(), value.encode()) for name, value in named.items()], content)


def _media_type(header: bytes) -> str:
    return header.decode("latin-1").partition(";")[0].strip().lower()


def _accepted(headers: Headers, default: str) -> str:
    """The format of the answer: the first of ours that `Accept` names, or that of the request."""
    ranges = [_media_type(part) for part in headers.get(b"accept", b"*/*").split(b",")]
    return next((part for part in ranges if part in (json.MEDIA_TYPE, npy.MEDIA_TYPE)), default)


def _npy_query(body: bytes, parameters: bytes) -> Query:
    try:
        pairs = parse_qsl(parameters.decode("ascii"), keep_blank_values=True, strict_parsing=bool(parameters))
    except ValueError as error:
        raise Refusal(f"query: {error}") from None
    if len(dict(pairs)) != len(pairs):
        raise Refusal("query: got a parameter twice, expected each once")
    return npy.decode_query(body, dict(pairs))
