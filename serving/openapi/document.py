"""The OpenAPI document: its paths and their statuses. The refusals are those of `serving.refusals` themselves."""

from http import HTTPStatus
from typing import Any

import pnol_jax
from serving import refusals
from serving.access import OPEN
from serving.openapi.schemas import (
    BYTES,
    DERIVATIVES_EXAMPLE,
    FEEDBACK_EXAMPLE,
    INFER_EXAMPLE,
    OBJECT,
    PREDICT_EXAMPLE,
    ROLLOUT_EXAMPLE,
    option_parameters,
    reference,
    schemas,
)
from serving.rollouts import frames as rollouts
from serving.wire import json, msgpack, v2
from serving.wire.formats import FORMATS

PATH = "/schema/openapi.json"
_KEY = {"name": "idempotency-key", "in": "header", "schema": {"type": "string", "pattern": "^[!-~]{1,128}$"}}


def document() -> dict[str, Any]:
    """The document, as plain values."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "pnol_jax serving",
            "version": pnol_jax.__version__,
            "description": 'Predictions of probabilistic neural operators. Every error is `{"error": message}`. What '
            "is no HTTP/1.1 request gets 400, a head that is too large 431, a connection too many 503.",
        },
        "paths": {**_predictions(), **_information(), **_management()},
        "components": {"schemas": schemas(), "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}}},
        "security": [{}, {"bearer": []}],
    }


def _predictions() -> dict[str, Any]:
    forms = {kind: BYTES for kind in FORMATS if kind != json.MEDIA_TYPE}
    body = {json.MEDIA_TYPE: reference("Body"), **forms}
    summary = "Predict from a body of any of these kinds; the parameters are those of npy alone"
    predict = _post(
        summary, body, {json.MEDIA_TYPE: reference("Prediction"), **forms}, PREDICT_EXAMPLE, option_parameters()
    )
    forms = {v2.BINARY_MEDIA_TYPE: BYTES}
    body = {json.MEDIA_TYPE: reference("InferRequest"), **forms}
    length = {"name": v2.HEADER_LENGTH, "in": "header", "schema": {"type": "integer", "minimum": 0}}
    answer = {json.MEDIA_TYPE: reference("InferResponse"), **forms}
    summary = "Predict (Open Inference Protocol, with its binary tensors)"
    newest, version = "/v2/models/{name}/infer", "/v2/models/{name}/versions/{number}/infer"
    return {
        "/predict": predict,
        newest: _post(summary, body, answer, INFER_EXAMPLE, [length, *_path_parameters(newest)]),
        version: _post(summary, body, answer, INFER_EXAMPLE, [length, *_path_parameters(version)]),
        **_of_named_arrays(),
    }


def _of_named_arrays() -> dict[str, Any]:
    """What is asked with more than inputs: steps of a trajectory, and derivatives."""
    packed = {msgpack.MEDIA_TYPE: BYTES}
    frames = {rollouts.LINES: reference("RolloutFrame"), rollouts.PACKED: BYTES}
    summary = "Stream the steps of a step model: a frame that says what comes, then one for each step"
    march = _post(summary, {json.MEDIA_TYPE: reference("RolloutBody"), **packed}, frames, ROLLOUT_EXAMPLE, [])
    summary = "The mean, and the product of its Jacobian in the inputs with a tangent, or of the transpose"
    answer = {json.MEDIA_TYPE: reference("Derivative"), **packed}
    body = {json.MEDIA_TYPE: reference("DerivativesBody"), **packed}
    return {"/rollout": march, "/derivatives": _post(summary, body, answer, DERIVATIVES_EXAMPLE, [])}


def _information() -> dict[str, Any]:
    health = {200: "It is so", 503: "It is not"}
    found = {200: "Found", 404: "There is none that is ready"}
    told = {200: "Told"}
    paths: dict[str, tuple[str, dict[int, str], Any]] = {
        "/health": ("Live and ready, and the state of each model", health, OBJECT),
        "/health/live": ("Whether the process need not be restarted", health, OBJECT),
        "/health/ready": ("Whether requests should be sent here", health, OBJECT),
        "/stats": ("Figures since the start", told, OBJECT),
        "/monitoring/metrics": ("Figures for Prometheus", told, None),
        "/monitoring/scaling": ("Figures for an autoscaler", told, reference("Scaling")),
        "/models": ("Every version: its state, signature and calibration", told, OBJECT),
        PATH: ("This document", told, OBJECT),
        "/v2": ("The server's metadata", told, OBJECT),
        "/v2/health/live": ("Whether the process need not be restarted", health, OBJECT),
        "/v2/health/ready": ("Whether requests should be sent here", health, OBJECT),
    }
    for path in ("/v2/models/{name}", "/v2/models/{name}/versions/{number}"):
        paths[path] = ("The tensors of a model", found, OBJECT)
        paths[f"{path}/ready"] = ("Whether a model answers", found, OBJECT)
    return {path: _get(path, *about) for path, about in paths.items()}


def _management() -> dict[str, Any]:
    """Versions that come, go and are compared."""
    of_model = {"parameters": {"version": "1"}}
    posts: dict[str, tuple[str, str, dict[str, Any] | None, Any]] = {
        "/v2/repository/index": ("Every version and its state", "IndexBody", {"type": "array"}, {"ready": True}),
        "/v2/repository/models/{name}/load": ("Load a model", "ControlBody", None, of_model),
        "/v2/repository/models/{name}/unload": ("Unload a model", "ControlBody", None, of_model),
        "/feedback": ("What came true, by which versions are compared", "Truth", OBJECT, FEEDBACK_EXAMPLE),
    }
    releases = "/models/{name}/releases"
    found = {200: "Found", 404: "There is none"}
    paths = {releases: _get(releases, "Labels, shares, scores and evidence of a model's versions", found, OBJECT)}
    paths[releases]["get"]["responses"]["503"] = _refused("The process that keeps the evidence does not answer")
    for path, (summary, body, answer, example) in posts.items():
        answers = {} if answer is None else {json.MEDIA_TYPE: answer}
        paths[path] = _post(summary, {json.MEDIA_TYPE: reference(body)}, answers, example, _path_parameters(path))
    return paths


def _get(path: str, summary: str, statuses: dict[int, str], schema: Any) -> dict[str, Any]:
    content = {"text/plain": {}} if schema is None else {json.MEDIA_TYPE: {"schema": schema}}
    responses = {str(status): {"description": text, "content": content} for status, text in statuses.items()}
    if "404" in responses:
        responses["404"] = _refused(statuses[404])
    if path not in OPEN:
        kinds = (refusals.Unauthorized, refusals.Forbidden, refusals.TooMany)
        responses |= {str(kind.status): _refused(kind.__doc__ or "") for kind in kinds}
    return {"get": {"summary": summary, "parameters": _path_parameters(path), "responses": responses}}


def _post(
    summary: str, body: dict[str, Any], answer: dict[str, Any], example: Any, parameters: list[Any]
) -> dict[str, Any]:
    content = {media_type: {"schema": schema} for media_type, schema in body.items()}
    content[json.MEDIA_TYPE]["example"] = example
    success = {"description": "The answer", "content": {kind: {"schema": schema} for kind, schema in answer.items()}}
    operation = {
        "summary": summary,
        "parameters": [_KEY, *parameters],
        "requestBody": {"required": True, "content": content},
        "responses": {"200": success, **_refusals()},
    }
    return {"post": operation}


def _refusals() -> dict[str, Any]:
    """Every way to refuse a prediction, from the classes themselves."""
    roots: list[type[refusals.Refusal] | type[refusals.Unavailable]] = [refusals.Refusal, refusals.Unavailable]
    classes = [kind for root in roots for kind in (root, *root.__subclasses__())]
    return {str(kind.status): _refused(kind.__doc__ or HTTPStatus(kind.status).phrase) for kind in classes}


def _refused(text: str) -> dict[str, Any]:
    return {"description": text.strip(), "content": {json.MEDIA_TYPE: {"schema": reference("Error")}}}


def _path_parameters(path: str) -> list[dict[str, Any]]:
    schema = {"type": "string", "minLength": 1}
    names = [name for name in ("name", "number") if f"{{{name}}}" in path]
    return [{"name": name, "in": "path", "required": True, "schema": schema} for name in names]
