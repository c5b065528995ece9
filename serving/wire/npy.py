"""`application/x-npy`: one array after the other, as `numpy.save` writes them to one file and `numpy.load` reads them.

In: the inputs, then, if they are not equally spaced, the coordinates of each axis, then, if there are some, weights of
functionals, which have more than one axis; options in the URL's query.
Out: the outputs in the order asked; their names and what else there is to say in the header `Answer`.
"""

import io
import json
from collections.abc import Mapping
from typing import Any

import msgspec
from numpy.lib import format as npy
from numpy.typing import NDArray

from serving.answers import Answer
from serving.query import Options, Query, convert_options
from serving.refusals import Refusal
from serving.wanted import LISTS, read_list
from serving.wire.json import describe
from serving.wire.npy_array import read_array

MEDIA_TYPE = "application/x-npy"
MAX_ARRAYS = 5  # the inputs, the coordinates of three axes, functionals


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
    """The arrays in a body, at least one, of any shape; views of its bytes."""
    arrays: list[NDArray[Any]] = []
    offset = 0
    while offset < len(body) or not arrays:
        if len(arrays) == MAX_ARRAYS:
            raise Refusal(f"body: expected at most {MAX_ARRAYS} npy arrays, there are more bytes after them")
        array, offset = read_array(body, offset, f"body: npy array {len(arrays)}")
        arrays.append(array)
    return arrays


def encode_answer(answer: Answer) -> tuple[bytes, dict[str, str]]:
    """The outputs one after the other, and the header that names them."""
    file = io.BytesIO()
    for array in answer.arrays.values():
        npy.write_array(file, array, allow_pickle=False)
    about = msgspec.to_builtins({"outputs": list(answer.arrays), **describe(answer)})
    return file.getvalue(), {"answer": json.dumps(about)}  # in ASCII, as a header must be
