"""The requests that predict, `POST /predict` and the Open Inference Protocol's infer: what the service is for."""

from collections.abc import Mapping
from typing import ClassVar, NamedTuple
from urllib.parse import parse_qsl

from serving.answers import Answer
from serving.cache.responses import Kept, bytes_key
from serving.endpoint import Endpoint, Exchange
from serving.failures import Response
from serving.monitoring.metrics import Metrics
from serving.monitoring.recorder import Recorder
from serving.monitoring.watch import Watch
from serving.refusals import Refusal
from serving.service import Service
from serving.settings import Settings
from serving.wire import json, v2
from serving.wire.formats import accepted, find_format

PREDICT = "/predict"
INFER, INFER_VERSION = "/v2/models/{name:str}/infer", "/v2/models/{name:str}/versions/{number:str}/infer"
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


class Predictions(Endpoint):
    """Answers from bytes that it knows where they repeat."""

    paths: ClassVar[tuple[str, ...]] = (PREDICT, INFER, INFER_VERSION)

    def __init__(self, service: Service, settings: Settings, metrics: Metrics, recorder: Recorder) -> None:
        super().__init__(settings, metrics, recorder)
        self._service = service

    def route(self, path: str) -> str:
        """Of a path that is `asked`."""
        if path == PREDICT:
            return PREDICT
        return INFER if path.count("/") == INFER.count("/") else INFER_VERSION

    async def answer(self, exchange: Exchange) -> Response:
        """What is kept for the very bytes, else what the service answers."""
        cache, catalogue, key = self._service.cache, self._service.repository.catalogue, b""
        if cache.responses.capacity:
            key = bytes_key(exchange.path, exchange.parameters, exchange.headers, exchange.body)
            known: Known | None = cache.repeat(key, catalogue)
            if known is not None:
                if (record := exchange.record) is not None:
                    record.model, record.version, record.bucket = known.about
                    record.cached = True
                return known.response
        response, answer = await (self._predict if exchange.path == PREDICT else self._infer)(exchange)
        if key and answer.repeatable is not None:
            known = Known(response, (answer.manifest.name, answer.manifest.version, answer.bucket))
            cache.responses.put(key, catalogue, Kept(known, answer.repeatable), len(response.content))
        return response

    async def _predict(self, exchange: Exchange) -> Replied:
        """Answers in the request's format unless `Accept` names another."""
        watch = Watch()
        form = find_format(exchange.header("content-type"))
        query = watch.decoded(form.decode(exchange.body, _parameters(exchange.parameters)))
        answer = watch.answered(await self._service.answer(query))
        form = accepted(exchange.header("accept"), form)
        content, about = await form.encode(answer)
        watch.encoded()
        return _response(form.media_type, content, about), answer

    async def _infer(self, exchange: Exchange) -> Replied:
        length, path = exchange.headers.get(v2.HEADER_LENGTH.encode()), _asked(exchange.path)
        text = None if length is None else length.decode("latin-1")
        watch = Watch()
        query, wanted = v2.decode_query(exchange.body, text, path.model, path.version)
        answer = watch.answered(await self._service.answer(watch.decoded(query)))
        content, about = await v2.encode_answer(answer, wanted)
        watch.encoded()
        return _response(v2.BINARY_MEDIA_TYPE if about else json.MEDIA_TYPE, content, about), answer


def _asked(path: str) -> Asked:
    found = asked(path)
    assert found is not None
    return found


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
