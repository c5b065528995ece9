"""The requests that predict, `POST /predict` and the Open Inference Protocol's infer, straight from ASGI.

They are what the service is for: a framework's routing and injection would cost several times what the rest of them
does. Everything else is the framework's.
"""

import asyncio
import gzip
import time
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import parse_qsl

from litestar.enums import ScopeType
from litestar.types import HTTPScope, Receive, Scope, Send

from serving.body import read_body
from serving.cache.responses import Kept, bytes_key
from serving.connection import CLIENT, Client
from serving.failures import Response, failure, send_response
from serving.monitoring.metrics import Metrics
from serving.monitoring.record import RECORD, Record
from serving.monitoring.recorder import Recorder
from serving.monitoring.watch import Watch
from serving.refusals import Refusal, WrongMethod
from serving.request_id import HEADER, find_request_id
from serving.service import Answer, Service
from serving.settings import Settings
from serving.wire import json, v2
from serving.wire.formats import accepted, find_format

PREDICT = "/predict"
INFER, INFER_VERSION = "/v2/models/{name:str}/infer", "/v2/models/{name:str}/versions/{number:str}/infer"
LEFT = 499  # in records alone, as in the logs of nginx: the client has gone
ENDPOINTS = (PREDICT, INFER, INFER_VERSION)
Headers = Mapping[bytes, bytes]
Replied = tuple[Response, Answer]


class Known(NamedTuple):
    """A response that is kept, and the model, version and bucket that it is of."""

    response: Response
    about: tuple[str, str, tuple[int, ...]]


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

    def __init__(self, service: Service, settings: Settings, metrics: Metrics, recorder: Recorder) -> None:
        self._service = service
        self._settings = settings
        self._metrics = metrics
        self._recorder = recorder if recorder.is_on else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one, whose path is `asked`; a client that leaves takes its request out of the engine."""
        started, request = time.perf_counter(), asked(scope["path"])
        assert scope["type"] == ScopeType.HTTP
        assert request is not None
        client: Client | None = (scope.get("extensions") or {}).get(CLIENT)  # type: ignore[assignment]
        if client is not None:
            client.task = asyncio.current_task()
        record = self._recorder.begin(request.endpoint, scope["headers"]) if self._recorder else None
        try:
            response = await self._respond(request, scope, receive, whole=client is not None and client.whole)
        except asyncio.CancelledError:
            if self._recorder and record:
                self._recorder.end(record, LEFT, 0)
            if client is None or not client.gone:
                raise
            return
        if client is not None:
            client.task = None  # sending ends by itself
        response = self._packed(response, scope, record)
        await send_response(response, send)
        self._metrics.count(request.endpoint, response.status, time.perf_counter() - started)
        if self._recorder and record:
            self._recorder.end(record, response.status, len(response.content))

    def _packed(self, response: Response, scope: HTTPScope, record: Record | None) -> Response:
        """With the request's id, and compressed where that is set and asked for."""
        status, headers, content = response
        name = find_request_id(scope["headers"]) if record is None else record.request_id.encode()
        if name is not None:
            headers = [*headers, (HEADER, name)]
        if self._settings.gzip_level and b"gzip" in dict(scope["headers"]).get(b"accept-encoding", b""):
            content = gzip.compress(content, self._settings.gzip_level)
            headers = [*headers, (b"content-encoding", b"gzip"), (b"vary", b"accept-encoding")]
        return Response(status, headers, content)

    async def _respond(self, request: Asked, scope: HTTPScope, receive: Receive, *, whole: bool) -> Response:
        headers: Headers = dict(scope["headers"])
        try:
            if scope["method"] != "POST":
                raise WrongMethod(f"method: got {scope['method']}, expected POST")
            body = await read_body(headers, receive, self._settings, whole=whole)
            if (record := RECORD.get()) is not None:
                record.bytes_in = len(body)
            cache, catalogue = self._service.cache, self._service.repository.catalogue
            key = bytes_key(scope["path"], scope["query_string"], headers, body) if cache.responses.capacity else b""
            if key and (known := cache.repeat(key, catalogue)) is not None:
                if record is not None:
                    record.model, record.version, record.bucket = known.about
                    record.cached = True
                return Response(*known.response)
            if request.endpoint == PREDICT:
                response, answer = await self._predict(headers, scope["query_string"], body)
            else:
                response, answer = await self._infer(request, headers, body)
            if key and answer.repeatable is not None:
                known = Known(response, (answer.manifest.name, answer.manifest.version, answer.bucket))
                cache.responses.put(key, catalogue, Kept(known, answer.repeatable), len(response.content))
            return response
        except Exception as error:
            return failure(error, find_request_id(scope["headers"]), RECORD.get())

    async def _predict(self, headers: Headers, parameters: bytes, body: bytes) -> Replied:
        """Answers in the request's format unless `Accept` names another."""
        watch = Watch()
        form = find_format(headers.get(b"content-type", b"").decode("latin-1"))
        query = watch.decoded(form.decode(body, _parameters(parameters)))
        answer = watch.answered(await self._service.answer(query))
        form = accepted(headers.get(b"accept", b"").decode("latin-1"), form)
        content, about = form.encode(answer)
        watch.encoded()
        return _response(form.media_type, content, about), answer

    async def _infer(self, request: Asked, headers: Headers, body: bytes) -> Replied:
        length = headers.get(v2.HEADER_LENGTH.encode())
        text = None if length is None else length.decode("latin-1")
        watch = Watch()
        query, wanted = v2.decode_query(body, text, request.model, request.version)
        answer = watch.answered(await self._service.answer(watch.decoded(query)))
        content, about = v2.encode_answer(answer, wanted)
        watch.encoded()
        return _response(v2.BINARY_MEDIA_TYPE if about else json.MEDIA_TYPE, content, about), answer


def _response(media_type: str, content: bytes, about: Mapping[str, str] | None = None) -> Response:
    named = {"content-type": media_type, **(about or {})}
    return Response(200, [(name.encode(), value.encode()) for name, value in named.items()], content)


def _parameters(text: bytes) -> dict[str, str]:
    try:
        pairs = parse_qsl(text.decode("ascii"), keep_blank_values=True, strict_parsing=bool(text))
    except ValueError as error:
        raise Refusal(f"query: {error}") from None
    if len(dict(pairs)) != len(pairs):
        raise Refusal("query: got a parameter twice, expected each once")
    return dict(pairs)
