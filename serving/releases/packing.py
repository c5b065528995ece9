"""A remembered request as bytes, so that it gets from the worker that answered it to the one that has its truth."""

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from serving.query import Options, Query
from serving.releases.memory import Asked
from serving.wire.msgpack import Array, read_array


class Packed(msgspec.Struct, frozen=True):
    """The parts of `Asked` and of its query, which has no functionals any more."""

    model: str
    version: str
    options: Options
    inputs: Array
    shape: tuple[int, ...] | None
    coordinates: tuple[Array, ...] | None


_encoder, _decoder = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(Packed)


def pack_asked(asked: Asked) -> bytes:
    """A request; every number keeps its bits."""
    query, coordinates = asked.query, None
    if query.coordinates is not None:
        coordinates = tuple(map(_array, query.coordinates))
    packed = Packed(asked.model, asked.version, query.options, _array(query.inputs), query.shape, coordinates)
    return _encoder.encode(packed)


def unpack_asked(content: bytes) -> Asked:
    """The request in these bytes."""
    packed, coordinates = _decoder.decode(content), None
    if packed.coordinates is not None:
        coordinates = tuple(read_array(array, "coordinates") for array in packed.coordinates)
    query = Query(packed.options, read_array(packed.inputs, "inputs"), packed.shape, coordinates)
    return Asked(query, packed.model, packed.version)


def _array(array: NDArray[Any]) -> Array:
    name: Any = array.dtype.name
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return Array(array.shape, name, little.reshape(-1).data)
