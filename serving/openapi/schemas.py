"""The schemas of bodies: those of requests from the types that read them, those of answers as they are written."""

from typing import Any

import msgspec

from serving.abstention import Abstention
from serving.answers import Interval
from serving.derivatives.query import DerivativesBody
from serving.derived import Exceedance, Functional, Quantiles
from serving.monitoring.utilisation import Scaling
from serving.query import Options
from serving.releases.endpoints import Truth
from serving.repository.endpoints import ControlBody, IndexBody
from serving.rollouts.query import RolloutBody
from serving.wire import json, v2

REFERENCES = "#/components/schemas/{name}"
WAVE = [0.0, 0.38, 0.71, 0.92, 1.0, 0.92, 0.71, 0.38, 0.0, -0.38, -0.71, -0.92, -1.0, -0.92, -0.71, -0.38]
TENSOR = {"name": "inputs", "shape": [len(WAVE)], "datatype": "FP32", "data": WAVE}
BYTES = {"type": "string", "format": "binary"}
OBJECT = {"type": "object"}
STATED: dict[str, type[msgspec.Struct]] = {
    "quantiles": Quantiles,
    "exceedance": Exceedance,
    "functional": Functional,
    "abstention": Abstention,
}
PREDICTION = {
    "type": "object",
    "description": "The arrays are nested lists; a figure of a single case is a number.",
    "required": ["model", "version", "bucket", "method", "cached", "channels", "interval", "outputs"],
    "properties": {
        "model": {"type": "string"},
        "version": {"type": "string"},
        "bucket": {"type": "array", "items": {"type": "integer"}},
        "method": {"type": "string"},
        "cached": {"type": "boolean"},
        "id": {"type": "string"},
        "approximate": {"anyOf": [OBJECT, {"type": "null"}]},
        "channels": {"type": "array", "items": OBJECT},
        "interval": {"anyOf": [{"$ref": REFERENCES.format(name="Interval")}, {"type": "null"}]},
        **{name: {"$ref": REFERENCES.format(name=kind.__name__)} for name, kind in STATED.items()},
        "outputs": {"type": "object", "additionalProperties": {"type": ["array", "number", "null"]}},
    },
}
INFER_RESPONSE = {
    "type": "object",
    "required": ["model_name", "model_version", "outputs"],
    "properties": {
        "model_name": {"type": "string"},
        "model_version": {"type": "string"},
        "id": {"type": "string"},
        "parameters": OBJECT,
        "outputs": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name", "shape", "datatype"],
                "properties": {
                    "name": {"type": "string"},
                    "shape": {"type": "array", "items": {"type": "integer"}},
                    "datatype": {"const": "FP32"},
                    "data": {"type": "array"},
                },
            },
        },
    },
}
NAMED_ARRAYS = {"type": "object", "additionalProperties": {"type": "array"}}
DERIVATIVE = {
    "type": "object",
    "description": "`outputs`: `mean`, and `jvp` shaped as it, or `vjp` shaped as the inputs.",
    "required": ["model", "version", "bucket", "method", "outputs"],
    "properties": {
        "model": {"type": "string"},
        "version": {"type": "string"},
        "bucket": {"type": "array", "items": {"type": "integer"}},
        "method": {"type": "string"},
        "abstention": {"$ref": REFERENCES.format(name="Abstention")},
        "outputs": NAMED_ARRAYS,
    },
}
ROLLOUT_FRAME = {
    "description": "A line: the first says what comes, others are steps, an error is the last.",
    "anyOf": [
        {
            "type": "object",
            "required": ["model", "version", "steps", "stride", "draws", "time_step"],
            "properties": {"abstention": {"$ref": REFERENCES.format(name="Abstention")}},
        },
        {
            "type": "object",
            "required": ["step", "time", "outputs"],
            "properties": {"step": {"type": "integer"}, "time": {"type": "number"}, "outputs": NAMED_ARRAYS},
        },
        {"type": "object", "required": ["error", "status"]},
    ],
}
TOLD = {"error": {"type": "string"}, "abstention": {"$ref": REFERENCES.format(name="Abstention")}}
ERROR = {"type": "object", "required": ["error"], "properties": TOLD}
PREDICT_EXAMPLE = {"inputs": WAVE, "outputs": ["mean", "interval"], "quantiles": [0.05, 0.5, 0.95]}
FEEDBACK_EXAMPLE = {"inputs": WAVE, "truth": WAVE}
DERIVATIVES_EXAMPLE = {"inputs": WAVE, "tangent": WAVE}
ROLLOUT_EXAMPLE = {"inputs": WAVE, "steps": 4, "stride": 2}
INFER_EXAMPLE = {"id": "1", "inputs": [TENSOR], "outputs": [{"name": "mean"}], "parameters": {"level": 0.5}}


def schemas() -> dict[str, Any]:
    """The components of the document."""
    asked = [json.Body, v2.InferRequest, IndexBody, ControlBody, Truth, RolloutBody, DerivativesBody]
    kinds = [*asked, Interval, Scaling, *STATED.values()]
    _, components = msgspec.json.schema_components(kinds, ref_template=REFERENCES)
    written = {"Prediction": PREDICTION, "InferResponse": INFER_RESPONSE, "Error": ERROR}
    return {**components, **written, "Derivative": DERIVATIVE, "RolloutFrame": ROLLOUT_FRAME}


def reference(name: str) -> dict[str, Any]:
    """A reference to a component."""
    return {"$ref": REFERENCES.format(name=name)}


def option_parameters() -> list[dict[str, Any]]:
    """The options, which stand in the URL beside an npy body; what is null in JSON is left out there."""
    _, components = msgspec.json.schema_components([Options])
    parameters = []
    for name, schema in components["Options"]["properties"].items():
        stated = next((kind for kind in schema.get("anyOf", ()) if kind != {"type": "null"}), schema)
        style = {"style": "form", "explode": False} if stated.get("type") == "array" else {}
        parameters.append({"name": name, "in": "query", "schema": stated, **style})
    return parameters
