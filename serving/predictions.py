"""The endpoints that predict: `POST /predict` and the Open Inference Protocol's infer."""

from typing import Any

from litestar import Request, Response, post
from litestar.datastructures import State

from serving.body import read_body
from serving.refusals import Refusal
from serving.service import Service
from serving.settings import Settings
from serving.wire import json, v2
from serving.wire.formats import accepted, find_format

AnyRequest = Request[Any, Any, State]


@post("/predict", status_code=200)
async def predict(request: AnyRequest, service: Service, settings: Settings) -> Response[bytes]:
    """Predict from a JSON, npy or msgpack body; answers in the same format unless `Accept` names another."""
    asked = find_format(request.headers.get("content-type", ""))
    body = await read_body(request, settings)
    answer = await service.answer(asked.decode(body, _parameters(request)))
    form = accepted(request.headers.get("accept", ""), asked)
    content, headers = form.encode(answer)
    return Response(content, media_type=form.media_type, headers=headers)


@post("/v2/models/{name:str}/infer", status_code=200)
async def infer(request: AnyRequest, name: str, service: Service, settings: Settings) -> Response[bytes]:
    """Predict with the newest version (Open Inference Protocol)."""
    return await _infer(request, name, None, service, settings)


@post("/v2/models/{name:str}/versions/{number:str}/infer", status_code=200)
async def infer_version(
    request: AnyRequest, name: str, number: str, service: Service, settings: Settings
) -> Response[bytes]:
    """Predict with one version (Open Inference Protocol)."""
    return await _infer(request, name, number, service, settings)


async def _infer(
    request: AnyRequest, name: str, version: str | None, service: Service, settings: Settings
) -> Response[bytes]:
    body = await read_body(request, settings)
    query, asked = v2.decode_query(body, request.headers.get(v2.HEADER_LENGTH), name, version)
    content, headers = v2.encode_answer(await service.answer(query), asked)
    media_type = v2.BINARY_MEDIA_TYPE if v2.HEADER_LENGTH in headers else json.MEDIA_TYPE
    return Response(content, media_type=media_type, headers=headers)


def _parameters(request: AnyRequest) -> dict[str, str]:
    pairs = list(request.query_params.multi_items())
    if len({name for name, _ in pairs}) != len(pairs):
        raise Refusal("query: got a parameter twice, expected each once")
    return {name: str(value) for name, value in pairs}


PREDICTIONS = [predict, infer, infer_version]
