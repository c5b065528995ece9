"""Arrays by name in msgpack, as `serving.wire.msgpack` reads and writes them."""

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from serving.client.calls import floats

MEDIA_TYPE = "application/msgpack"


class Packed(msgspec.Struct, frozen=True):
    """An array: its bytes are little-endian, in C order."""

    shape: tuple[int, ...]
    dtype: str
    data: memoryview

    def array(self) -> NDArray[Any]:
        """The array, of any shape; a view of what came."""
        return np.frombuffer(self.data, np.dtype(self.dtype).newbyteorder("<")).reshape(self.shape)


def pack(array: ArrayLike) -> Packed:
    """An array of any shape to be sent."""
    values = np.ascontiguousarray(floats(array))
    return Packed(np.shape(array), values.dtype.name, values.reshape(-1).data)


def body(inputs: ArrayLike, said: Mapping[str, Any], **named: ArrayLike) -> bytes:
    """A request: inputs ([cases,] *space, channels), arrays by name, and what `said` has that is not None."""
    values = {name: value for name, value in said.items() if value is not None and name != "deadline"}
    if "coordinates" in values:
        values["coordinates"] = [pack(axis) for axis in values["coordinates"]]
    arrays = {name: pack(array) for name, array in named.items()}
    return msgspec.msgpack.encode({**values, "inputs": pack(inputs), **arrays})
