"""`application/x-npy`: one array after the other, as `numpy.save` writes them to one file and `numpy.load` reads them.

In: the inputs, then, if they are not equally spaced, the coordinates of each axis, then, if there are some, weights of
functionals, which have more than one axis; options in the URL's query.
Out: the outputs in the order asked; their names and what else there is to say in the header `Answer`.
"""

import io
import json
import math
import re
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from serving.answers import Answer
from serving.query import Options, Query, convert_options
from serving.refusals import Refusal
from serving.wanted import LISTS, read_list
from serving.wire.json import describe
from serving.wire.shapes import in_shape

MEDIA_TYPE = "application/x-npy"
MAX_ARRAYS = 5  # the inputs, the coordinates of three axes, functionals
MAX_HEADER = 4096
DTYPES = ("<f4", "<f8")
# The quantifiers are possessive, so that no text takes long to refuse.
_ENTRIES = (
    r"'descr'\s*+:\s*+'(?P<descr>[^']*+)'",
    r"'fortran_order'\s*+:\s*+(?P<fortran_order>True|False)",
    r"'shape'\s*+:\s*+\((?P<shape>[\d\s,]*+)\)",
)
_HEADER = re.compile(rf"\{{(?:\s*+(?:{'|'.join(_ENTRIES)})\s*+,?){{3}}\s*+\}}\s*+", re.ASCII)


def decode_query(body: bytes, parameters: Mapping[str, str]) -> Query:
    """The query in a body of npy arrays and the URL's parameters.

    Raises:
        Refusal: a malformed or truncated array, another dtype than float32 or float64, an unknown parameter.
    """
    inputs, *arrays = read_arrays(body)
    functionals = arrays.pop() if arrays and arrays[-1].ndim > 1 else None
    return Query(decode_options(parameters), inputs, None, tuple(arrays) or None, functionals)


def decode_options(parameters: Mapping[str, str]) -> Options:
    """Options from the URL's query, `outputs=mean,std&level=0.9`."""
    values: dict[str, Any] = dict(parameters)
    if "outputs" in values:
        values["outputs"] = values["outputs"].split(",")
    for name in LISTS & values.keys():
        values[name] = read_list(values[name], name)
    return convert_options(values, "query", strict=False)


def read_arrays(body: bytes) -> list[NDArray[Any]]:
    """The arrays in a body, at least one; views of its bytes."""
    arrays: list[NDArray[Any]] = []
    offset = 0
    while offset < len(body) or not arrays:
        if len(arrays) == MAX_ARRAYS:
            raise Refusal(f"body: expected at most {MAX_ARRAYS} npy arrays, there are more bytes after them")
        array, offset = _read_array(body, offset, f"body: npy array {len(arrays)}")
        arrays.append(array)
    return arrays


def _read_array(body: bytes, offset: int, where: str) -> tuple[NDArray[Any], int]:
    """The array that begins at an offset, and where it ends."""
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
    """Where the data begins and the header's entries; numpy's own reader evaluates the text, which is not ours."""
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


def encode_answer(answer: Answer) -> tuple[bytes, dict[str, str]]:
    """The outputs one after the other, and the header that names them."""
    file = io.BytesIO()
    for array in answer.arrays.values():
        npy.write_array(file, array, allow_pickle=False)
    about = msgspec.to_builtins({"outputs": list(answer.arrays), **describe(answer)})
    return file.getvalue(), {"answer": json.dumps(about)}  # in ASCII, as a header must be
