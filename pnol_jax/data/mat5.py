"""Arrays of numbers in a `.mat` file of MATLAB's version 5, as `save` writes it unless told otherwise.

Not by SciPy's reader, which a damaged byte can make end the process. The file is a list of elements: a type, a number
of bytes, and these, perhaps compressed; an array is an element of elements: its flags, shape, name and numbers.
Source: MathWorks, "MAT-File Format", chapter 1.
"""

import math
import mmap
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

UNREADABLE = (ValueError, OverflowError, OSError, struct.error, zlib.error)
_HEADER, _HEAD = 128, 4096  # bytes before the first element; those in which an array's name is found
_MATRIX, _COMPRESSED = 14, 15
_COMPLEX = 0x0800  # of an array's flags, whose last byte is its class
_CLASSES = {1: "a cell array", 2: "a structure", 3: "an object", 4: "a text", 5: "a sparse matrix"} | dict.fromkeys(
    range(6, 16), "numbers"
)
_DTYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}


@dataclass(frozen=True)
class Variable:
    """A variable of a file: what it is, and its element; `order` of the bytes, < or >."""

    kind: str
    content: memoryview
    compressed: bool
    order: str

    def read(self) -> NDArray[Any]:
        """Its numbers, any shape, in the type in which they are stored; a view of the file where it is not compressed.

        Raises:
            ValueError, zlib.error, struct.error: it is damaged.
        """
        content = self.content
        if self.compressed:
            _, content, _ = _element(memoryview(zlib.decompress(content)), 0, self.order)
        _, shape, _, at = _head(content, self.order)
        code, numbers, _ = _element(content, at, self.order)
        if code not in _DTYPES:
            raise ValueError(f"numbers of type {code}, expected one of {sorted(_DTYPES)}")
        dtype = np.dtype(self.order + _DTYPES[code])
        if len(numbers) != math.prod(shape) * dtype.itemsize:
            raise ValueError(f"{len(numbers)} bytes, expected those of shape {shape} in {dtype}")
        return np.frombuffer(numbers, dtype).reshape(shape, order="F")


def variables(path: Path) -> dict[str, Variable]:
    """The variables of a file by name.

    Raises:
        ValueError, OSError, struct.error, zlib.error: it is no such file, or is damaged.
    """
    with open(path, "rb") as file:
        data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    order = {b"\x00\x01IM": "<", b"\x01\x00MI": ">"}.get(bytes(data[_HEADER - 4 : _HEADER]))
    if order is None:
        raise ValueError(f"{bytes(data[:24])!r} ... begins no file of version 5 or 7.3")
    found: dict[str, Variable] = {}
    at = _HEADER
    while at < len(data):
        code, content, at = _element(data, at, order)
        head, packed = content, code == _COMPRESSED
        if packed:
            start = memoryview(zlib.decompressobj().decompress(content, _HEAD))
            code, head, _ = _element(start, 0, order, whole=False)
        if code == _MATRIX:
            flags, _, name, _ = _head(head, order)
            kind = _CLASSES.get(flags & 0xFF, "of MATLAB's own")
            kind = "complex" if kind == "numbers" and flags & _COMPLEX else kind
            found[name] = Variable(kind, content, packed, order)
    return found


def _head(content: memoryview, order: str) -> tuple[int, tuple[int, ...], str, int]:
    """An array's flags, shape and name, and where its numbers begin."""
    _, flags, at = _element(content, 0, order)
    _, shape, at = _element(content, at, order)
    _, name, at = _element(content, at, order)
    sizes = struct.unpack(f"{order}{len(shape) // 4}i", shape)
    if min(sizes, default=-1) < 0:
        raise ValueError(f"the shape {sizes}")
    return struct.unpack_from(f"{order}I", flags)[0], sizes, bytes(name).decode("ascii"), at


def _element(data: memoryview, at: int, order: str, whole: bool = True) -> tuple[int, memoryview, int]:
    """The type and content of the element at a place, and where the next one is; unless `whole` it may be cut short."""
    code, size = struct.unpack_from(f"{order}II", data, at)
    start = at + 8
    if code >> 16:  # a small one: number of bytes, type and content in eight bytes
        code, size, start = code & 0xFFFF, code >> 16, at + 4
    if size > (len(data) - start if start > at + 4 else 4) and whole:
        raise ValueError(f"{size} bytes of an element at {at}, of which {len(data) - start} are there")
    end = start + size
    return code, data[start:end], end if code == _COMPRESSED else end + -end % 8
