"""The messages of the Open Inference Protocol over gRPC, which say what `serving.wire.v2` says in JSON.

In: numbers in each tensor's `contents`, or all of them in `raw_input_contents`. Out: in the way that the request used,
unless its parameter `binary_data_output` says which.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from serving.answers import Answer
from serving.query import Query
from serving.refusals import Refusal
from serving.wire import v2
from serving.wire.inference_pb2 import (
    InferParameter,
    InferTensorContents,
    ModelInferRequest,
    ModelInferResponse,
    ModelMetadataResponse,
)
from serving.wire.tensors import find_dtype, from_bytes, from_numbers, make_query

Tensor = ModelInferRequest.InferInputTensor

# Where a datatype's numbers stand in a tensor's contents, and as what.
CONTENTS: dict[str, tuple[str, type[np.generic]]] = {
    **dict.fromkeys(("INT8", "INT16", "INT32"), ("int_contents", np.int32)),
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), ("uint_contents", np.uint32)),
    "INT64": ("int64_contents", np.int64),
    "UINT64": ("uint64_contents", np.uint64),
    "FP32": ("fp32_contents", np.float32),
    "FP64": ("fp64_contents", np.float64),
}


def decode_query(request: ModelInferRequest, remaining: float | None = None) -> Query:
    """The query in a request; `remaining`: the seconds until the call's own deadline, if it has one.

    Raises:
        Refusal: a malformed tensor or parameter.
    """
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise Refusal(
            f"raw_input_contents: got {len(raw)} of them, expected one for each of {len(request.inputs)} inputs"
        )
    tensors: dict[str, NDArray[Any]] = {}
    for i, tensor in enumerate(request.inputs):
        if tensor.name in tensors:
            raise Refusal(f"inputs: got {tensor.name!r} twice")
        tensors[tensor.name] = _raw(tensor, raw[i]) if raw else _typed(tensor)
    outputs = [output.name for output in request.outputs]
    version = request.model_version or None
    query = make_query(tensors, _plain(request.parameters), outputs, request.model_name, version)
    if remaining is None:
        return query
    timeout = min(max(remaining, 1e-6), query.options.timeout or remaining)
    options = msgspec.structs.replace(query.options, timeout=timeout)
    return dataclasses.replace(query, options=options)


def _raw(tensor: Tensor, content: bytes) -> NDArray[Any]:
    return from_bytes(tensor.name, tensor.datatype, tensor.shape, memoryview(content))


def _typed(tensor: Tensor) -> NDArray[Any]:
    find_dtype(tensor.name, tensor.datatype)
    if tensor.datatype not in CONTENTS:
        raise Refusal(f"{tensor.name}: got {tensor.datatype} in contents, expected it in raw_input_contents")
    field, dtype = CONTENTS[tensor.datatype]
    numbers = np.asarray(getattr(tensor.contents, field), dtype)
    return from_numbers(tensor.name, tensor.datatype, tensor.shape, numbers)


def _plain(parameters: Mapping[str, InferParameter]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, parameter in parameters.items():
        choice = parameter.WhichOneof("parameter_choice")
        if choice is None:
            raise Refusal(f"parameters: got {name!r} without a value")
        values[name] = getattr(parameter, choice)
    return values


def _parameter(value: str | float) -> InferParameter:
    if isinstance(value, int):
        return InferParameter(int64_param=value)
    return InferParameter(string_param=value) if isinstance(value, str) else InferParameter(double_param=value)


def encode_answer(answer: Answer, request: ModelInferRequest) -> ModelInferResponse:
    """The response to a request."""
    header = v2.describe_answer(answer)
    response = ModelInferResponse(
        model_name=header["model_name"],
        model_version=header["model_version"],
        id=request.id,
        parameters={name: _parameter(value) for name, value in header["parameters"].items()},
    )
    raw = _plain(request.parameters).get("binary_data_output", bool(request.raw_input_contents))
    for name, array in answer.arrays.items():
        output = response.outputs.add(name=name, datatype="FP32", shape=array.shape)
        if raw:
            response.raw_output_contents.append(array.tobytes())
        else:
            output.contents.CopyFrom(InferTensorContents(fp32_contents=array.ravel()))
    return response


def encode_metadata(about: Mapping[str, Any]) -> ModelMetadataResponse:
    """The message of a model's metadata, as `serving.wire.metadata` gives it."""
    response = ModelMetadataResponse(name=about["name"], versions=about["versions"], platform=about["platform"])
    for field, tensors in ((response.inputs, about["inputs"]), (response.outputs, about["outputs"])):
        for tensor in tensors:
            field.add(name=tensor["name"], datatype=tensor["datatype"], shape=tensor["shape"])
    return response
