"""The Open Inference Protocol, version 2, in JSON and with its binary tensor extension.

The tensors and parameters are those of `serving.wire.tensors` in, and those of `serving.query.OUTPUTS` out.
"""

import functools
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from serving.answers import Answer
from serving.query import Options, Query
from serving.refusals import Refusal
from serving.wire.json import describe, encode, encode_array
from serving.wire.numbers import Numbers, read_numbers
from serving.wire.tensors import (
    find_dtype,
    from_bytes,
    from_numbers,
    make_options,
    place_tensors,
)

HEADER_LENGTH = "inference-header-content-length"
BINARY_MEDIA_TYPE = "application/octet-stream"
REMEMBERED, REMEMBERED_BYTES = 256, 2048  # JSON parts, and how long they may be

Parameters = dict[str, bool | int | float | str]


class InputTensor(msgspec.Struct, frozen=True):
    """A tensor of a request; its data is here or, with `binary_data_size`, behind the header."""

    name: str
    shape: tuple[int, ...]
    datatype: str
    parameters: Parameters | None = None
    data: Numbers | msgspec.UnsetType = msgspec.UNSET


class RequestedOutput(msgspec.Struct, frozen=True):
    """An output that is asked for."""

    name: str
    parameters: Parameters | None = None


class InferRequest(msgspec.Struct, frozen=True):
    """The JSON part of a request; clients that write null for what they leave out are understood."""

    inputs: tuple[InputTensor, ...]
    id: str | None = None
    parameters: Parameters | None = None
    outputs: tuple[RequestedOutput, ...] | None = None

    def is_binary(self, output: str) -> bool:
        """Whether an output is wanted as bytes, under its own name or that of several."""
        named = {requested.name: requested.parameters for requested in self.outputs or ()}
        several = "interval" if output in ("lower", "upper") else output.partition(".")[0]
        own = named.get(output, named.get(several)) or {}
        return bool(own.get("binary_data", (self.parameters or {}).get("binary_data_output", False)))


_decoder = msgspec.json.Decoder(InferRequest)


def decode_query(body: bytes, header_length: str | None, model: str, version: str | None) -> tuple[Query, InferRequest]:
    """The query in a request's body, whose first `header_length` bytes are JSON (all of it if None).

    Raises:
        Refusal: a malformed header length, JSON, tensor or parameter.
    """
    length = _header_length(header_length, len(body))
    view = memoryview(body)
    read = _read if length > REMEMBERED_BYTES else _read_again
    request, options = read(bytes(view[:length]), model, version)
    return place_tensors(_read_tensors(request.inputs, view[length:]), options), request


def _read(text: bytes, model: str, version: str | None) -> tuple[InferRequest, Options]:
    """The JSON part of a request, and the options in it."""
    try:
        request = _decoder.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refusal(f"body: {error}") from None
    parameters = dict(request.parameters or {}) | {"id": request.id}
    return request, make_options(parameters, [output.name for output in request.outputs or ()], model, version)


_read_again = functools.lru_cache(REMEMBERED)(_read)  # a client's requests differ in their tensors' bytes only


def _header_length(text: str | None, total: int) -> int:
    if text is None:
        return total
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= total):
        raise Refusal(f"{HEADER_LENGTH}: got {text[:40]!r}, expected a number of bytes of at most {total}")
    return int(text)


def _read_tensors(tensors: Sequence[InputTensor], rest: memoryview) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {}
    offset = 0
    for tensor in tensors:
        if tensor.name in arrays:
            raise Refusal(f"inputs: got {tensor.name!r} twice")
        size = (tensor.parameters or {}).get("binary_data_size")
        if size is None:
            arrays[tensor.name] = _from_json(tensor)
        else:
            content = _content(tensor, size, rest[offset:])
            arrays[tensor.name] = from_bytes(tensor.name, tensor.datatype, tensor.shape, content)
            offset += len(content)
    if offset != len(rest):
        raise Refusal(f"body: got {len(rest)} bytes behind the JSON header, expected {offset}")
    return arrays


def _from_json(tensor: InputTensor) -> NDArray[Any]:
    find_dtype(tensor.name, tensor.datatype)  # before what may be no numbers is read
    if tensor.data is msgspec.UNSET:
        raise Refusal(f"{tensor.name}: got no data, expected `data` or the parameter binary_data_size")
    numbers = read_numbers(tensor.data, f"{tensor.name}.data")
    return from_numbers(tensor.name, tensor.datatype, tensor.shape, numbers)


def _content(tensor: InputTensor, size: Any, rest: memoryview) -> memoryview:
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= len(rest):
        raise Refusal(
            f"{tensor.name}: got binary_data_size {size}, expected at most {len(rest)}, the bytes that are left"
        )
    return rest[:size]


def describe_answer(answer: Answer) -> dict[str, Any]:
    """What a response says beside its outputs."""
    about = describe(answer)
    bucket = "x".join(map(str, answer.bucket))
    near = msgspec.to_builtins(answer.approximate) if answer.approximate else {}
    return {
        "model_name": about["model"],
        "model_version": about["version"],
        "parameters": {
            "bucket": bucket,
            "method": about["method"],
            **near,
            **(_stated(answer) if answer.stated else {}),
        },
    }


def _stated(answer: Answer) -> dict[str, str | float]:
    """What is said of outputs that a caller named, as parameters: `quantiles.kind`; lists with commas."""
    told = {
        f"{name}.{part}": value
        for name, about in answer.stated.items()
        for part, value in msgspec.to_builtins(about).items()
        if value is not None
    }
    return {name: ",".join(map(repr, value)) if isinstance(value, tuple) else value for name, value in told.items()}


async def encode_answer(answer: Answer, request: InferRequest) -> tuple[bytes, dict[str, str]]:
    """The response's body, JSON and then the bytes of the outputs that were wanted as such; and its headers."""
    outputs: list[dict[str, Any]] = []
    blobs: list[memoryview] = []
    for name, array in answer.arrays.items():
        entry: dict[str, Any] = {"name": name, "shape": array.shape, "datatype": "FP32"}
        if request.is_binary(name):
            blobs.append(np.ascontiguousarray(array).data)
            entry["parameters"] = {"binary_data_size": array.nbytes}
        else:
            entry["data"] = await encode_array(array.ravel())
        outputs.append(entry)
    header = describe_answer(answer) | {"outputs": outputs}
    if (identifier := request.id or answer.id) is not None:
        header["id"] = identifier
    text = encode(header)
    if not blobs:
        return text, {}
    return b"".join([text, *blobs]), {HEADER_LENGTH: str(len(text))}
