"""`application/msgpack`: one map, in which an array is `{"shape": [...], "dtype": "float32", "data": bytes}`.

In: the fields of `serving.query.Options`, `inputs`, and, if they are not equally spaced, `coordinates`, one array per
axis, and `functionals`, weights; dtype float32 or float64. Out: `outputs`, a map from names to arrays, and beside it
what every format says of an answer. Bytes are little-endian, in C order. Errors are JSON, as everywhere.
"""

import math
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from serving.answers import Answer
from serving.query import Options, Query
from serving.refusals import Refusal, explained
from serving.wire.json import describe
from serving.wire.shapes import in_shape

MEDIA_TYPE = "application/msgpack"


class Array(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An array; reading one copies nothing."""

    shape: tuple[int, ...]
    dtype: Literal["float32", "float64"]
    data: memoryview


class Body(Options, frozen=True, kw_only=True):
    """A request: the options, the inputs, and their grid."""

    inputs: Array
    coordinates: tuple[Array, ...] | None = None
    functionals: Array | None = None


_decoder = msgspec.msgpack.Decoder(Body)
_encoder = msgspec.msgpack.Encoder()


def decode_query(body: bytes) -> Query:
    """The query in a msgpack body.

    Raises:
        Refusal: no msgpack, unknown or ill-typed fields, bytes that are not those of the shape.
    """
    try:
        parsed = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refusal(f"body: {explained(error, Body)}") from None
    coordinates = None
    if parsed.coordinates is not None:
        coordinates = tuple(read_array(array, f"coordinates[{i}]") for i, array in enumerate(parsed.coordinates))
    functionals = None if parsed.functionals is None else read_array(parsed.functionals, "functionals")
    return Query(parsed, read_array(parsed.inputs, "inputs"), None, coordinates, functionals)


def read_array(array: Array, where: str) -> NDArray[Any]:
    """The numbers of an array, any shape.

    Raises:
        Refusal: its bytes are not those of its shape.
    """
    dtype = np.dtype(array.dtype).newbyteorder("<")
    expected = math.prod(array.shape) * dtype.itemsize
    if min(array.shape, default=0) < 0 or len(array.data) != expected:
        raise Refusal(f"{where}: got {len(array.data)} bytes, expected {expected} for shape {list(array.shape)}")
    return in_shape(np.frombuffer(array.data, dtype), array.shape, where)


def encode_answer(answer: Answer) -> bytes:
    """The msgpack map of an answer."""
    return _encoder.encode({**describe(answer), "outputs": {name: write_array(a) for name, a in answer.arrays.items()}})


def write_array(array: NDArray[np.float32]) -> Array:
    """An array of any shape as it is sent, float32."""
    return Array(array.shape, "float32", np.ascontiguousarray(array, "<f4").reshape(-1).data)
