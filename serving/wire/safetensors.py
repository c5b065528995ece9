"""`application/x-safetensors`: a file of safetensors, as `safetensors.numpy.save` makes it and `load` reads it.

In: the tensors of `serving.wire.tensors`, F32 or F64: `inputs`, if they are not equally spaced `coordinates.0` ..., one
per axis, and perhaps `functionals`; the options as a JSON object in the text `options` of the header's `__metadata__`.
Out: an F32 tensor for each output; their order and what else there is to say as JSON in the text `answer` of
`__metadata__`. Source: huggingface.co/docs/safetensors, "Format".
"""

import math
from collections.abc import Mapping
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from serving.answers import Answer
from serving.query import Options, Query
from serving.refusals import Refusal, explained
from serving.wire.json import describe, encode
from serving.wire.shapes import in_shape
from serving.wire.tensors import place_tensors

MEDIA_TYPE = "application/x-safetensors"
MAX_HEADER = 2**16  # bytes
METADATA = "__metadata__"
_DTYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F64": np.dtype("<f8")}


class Tensor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A tensor in the header; its bytes are from one offset to the other behind it."""

    dtype: Literal["F32", "F64"]
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


class Metadata(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a request may say beside its tensors."""

    options: str = "{}"


def decode_query(body: bytes, _: Mapping[str, str]) -> Query:
    """The query in a body.

    Raises:
        Refusal: a header that is none or too long, tensors that overlap or are not all there, another dtype than F32 or
            F64, a tensor too many or too few, unknown or ill-typed options.
    """
    entries, start = _read_header(body)
    metadata = _read(entries.pop(METADATA, b"{}"), Metadata, f"body: {METADATA}")
    options = _read(metadata.options, Options, "options")
    tensors = {name: _read(text, Tensor, name[:100]) for name, text in entries.items()}
    _check_offsets(tensors, len(body) - start)
    return place_tensors({name: _array(tensor, body, start, name) for name, tensor in tensors.items()}, options)


def _read_header(body: bytes) -> tuple[dict[str, msgspec.Raw | bytes], int]:
    """The header's entries, and where the tensors begin."""
    length, room = int.from_bytes(body[:8], "little"), min(len(body) - 8, MAX_HEADER)
    if length > room:
        raise Refusal(f"body: got a header of {length} bytes, expected one of at most {max(0, room)} after its length")
    try:
        entries: dict[str, msgspec.Raw | bytes] = msgspec.json.decode(body[8 : 8 + length], type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refusal(f"body: expected a header of safetensors: {error}") from None
    return entries, 8 + length


def _read(text: bytes | str | msgspec.Raw, kind: Any, where: str) -> Any:
    """What stands in a piece of JSON."""
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise Refusal(f"{where}: {explained(error, kind)}") from None


def _check_offsets(tensors: Mapping[str, Tensor], size: int) -> None:
    """Refuse tensors that overlap, leave holes or lie outside the bytes behind the header."""
    at = 0
    for name, tensor in sorted(tensors.items(), key=lambda item: item[1].data_offsets):
        begin, end = tensor.data_offsets
        if begin != at or not begin <= end <= size:
            raise Refusal(f"{name}: got bytes {begin} to {end} of {size}, expected them to begin at {at}")
        at = end
    if at != size:
        raise Refusal(f"body: got {size} bytes behind the header, expected {at}")


def _array(tensor: Tensor, body: bytes, start: int, name: str) -> NDArray[Any]:
    """A view of the body's bytes."""
    dtype, (begin, end) = _DTYPES[tensor.dtype], tensor.data_offsets
    expected = math.prod(tensor.shape) * dtype.itemsize
    if min(tensor.shape, default=0) < 0 or end - begin != expected:
        raise Refusal(f"{name}: got {end - begin} bytes, expected {expected} for shape {list(tensor.shape)}")
    return in_shape(np.frombuffer(body, dtype, expected // dtype.itemsize, start + begin), tensor.shape, name)


async def encode_answer(answer: Answer) -> tuple[bytes, dict[str, str]]:
    """The header, padded so that numbers lie at multiples of 8, and the outputs one after the other."""
    about = {"outputs": list(answer.arrays), **describe(answer)}
    header: dict[str, Any] = {METADATA: {"answer": encode(about).decode()}}
    at = 0
    for name, array in answer.arrays.items():
        header[name] = Tensor("F32", array.shape, (at, at + 4 * array.size))
        at += 4 * array.size
    text = encode(header)
    text += b" " * (-len(text) % 8)
    blobs = [np.ascontiguousarray(array, "<f4").data for array in answer.arrays.values()]
    return b"".join([len(text).to_bytes(8, "little"), text, *blobs]), {}
