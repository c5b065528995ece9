"""The endpoints that predict: `POST /predict` and the Open Inference Protocol's infer."""

from typing import Any

from litestar import Request, Response, post
from litestar.datastructures import State

from serving.body import read_body
from serving.refusals import Refusal, Unsupported
from serving.service import Service
from serving.settings import Settings
from serving.wire import json, npy, v2

AnyRequest = Request[Any, Any, State]


@post("/predict", status_code=200)
async def predict(request: AnyRequest, service: Service, settings: Settings) -> Response[bytes]:
    """Predict from a JSON or npy body; answers in the same format unless `Accept` names the other."""
    media_type = request.headers.get("content-type", json.MEDIA_TYPE).partition(";")[0].strip().lower()
    if media_type not in (json.MEDIA_TYPE, npy.MEDIA_TYPE):
        raise Unsupported(f"content-type: got {media_type!r}, expected {json.MEDIA_TYPE!r} or {npy.MEDIA_TYPE!r}")
    body = await read_body(request, settings)
    is_npy = media_type == npy.MEDIA_TYPE
    query = npy.decode_query(body, _parameters(request)) if is_npy else json.decode_query(body)
    answer = await service.answer(query)
    if _accepted(request, media_type) == npy.MEDIA_TYPE:
        content, headers = npy.encode_answer(answer)
        return Response(content, media_type=npy.MEDIA_TYPE, headers=headers)
    return Response(json.encode_answer(answer), media_type=json.MEDIA_TYPE)


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


def _accepted(request: AnyRequest, default: str) -> str:
    """The format of the answer: the first of ours that `Accept` names, or that of the request."""
    ranges = [part.partition(";")[0].strip().lower() for part in request.headers.get("accept", "*/*").split(",")]
    return next((part for part in ranges if part in (json.MEDIA_TYPE, npy.MEDIA_TYPE)), default)


def _parameters(request: AnyRequest) -> dict[str, str]:
    pairs = list(request.query_params.multi_items())
    if len({name for name, _ in pairs}) != len(pairs):
        raise Refusal("query: got a parameter twice, expected each once")
    return {name: str(value) for name, value in pairs}


PREDICTIONS = [predict, infer, infer_version]
