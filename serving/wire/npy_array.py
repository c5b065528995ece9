"""One array as `numpy.save` writes it, read without numpy's own reader.

That one evaluates the header as Python: a text that is not ours, and by a parser that fails now and then where several
threads use it at once (CPython 3.11: "AST constructor recursion depth mismatch").
"""

import math
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.refusals import Refusal
from serving.wire.shapes import in_shape

MAX_HEADER = 4096
DTYPES = ("<f4", "<f8")
# The quantifiers are possessive, so that no text takes long to refuse.
_ENTRIES = (
    r"'descr'\s*+:\s*+'(?P<descr>[^']*+)'",
    r"'fortran_order'\s*+:\s*+(?P<fortran_order>True|False)",
    r"'shape'\s*+:\s*+\((?P<shape>[\d\s,]*+)\)",
)
_HEADER = re.compile(rf"\{{(?:\s*+(?:{'|'.join(_ENTRIES)})\s*+,?){{3}}\s*+\}}\s*+", re.ASCII)


def read_array(body: bytes, offset: int, where: str) -> tuple[NDArray[Any], int]:
    """The array, of any shape, that begins at an offset, a view of the bytes, and where it ends.

    Raises:
        Refusal: it is malformed or truncated, or of another dtype than float32 or float64.
    """
    start, header = _read_header(body, offset, where)
    if header["descr"] not in DTYPES:
        raise Refusal(f"{where}: got dtype {header['descr']!r}, expected {' or '.join(DTYPES)}")
    dtype, shape = np.dtype(header["descr"]), _shape(header["shape"], where)
    end = start + math.prod(shape) * dtype.itemsize
    if end > len(body):
        raise Refusal(f"{where}: got {len(body) - start} bytes, expected {end - start} for shape {list(shape)}")
    flat: NDArray[Any] = np.frombuffer(body, dtype, math.prod(shape), start)
    return in_shape(flat, shape, where, "F" if header["fortran_order"] == "True" else "C"), end


def _shape(text: str, where: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.strip().removesuffix(",").split(",") if text.strip()]
    if not all(part.isdigit() and len(part) < 19 for part in parts):
        raise Refusal(f"{where}: got the shape ({text[:100]}), expected numbers")
    return tuple(int(part) for part in parts)


def _read_header(body: bytes, offset: int, where: str) -> tuple[int, dict[str, str]]:
    """Where the data begins and the header's entries."""
    version = body[offset + 6 : offset + 8]
    if body[offset : offset + 6] != b"\x93NUMPY" or version not in (b"\1\0", b"\2\0", b"\3\0"):
        raise Refusal(f"{where}: got {body[offset : offset + 8]!r}, expected the beginning of an npy array")
    begin = offset + (10 if version == b"\1\0" else 12)
    length = int.from_bytes(body[offset + 8 : begin], "little")
    text = body[begin : begin + min(length, MAX_HEADER)]
    header = _HEADER.fullmatch(text.decode("latin-1"))
    if header is None or len(text) < length or None in header.groups():
        raise Refusal(f"{where}: got the header {text[:100]!r}, expected descr, fortran_order and shape")
    return begin + length, header.groupdict()
