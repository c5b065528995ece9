"""Tensors of the Open Inference Protocol, from whichever transport: their numbers, and the query that they make up.

Tensors: `inputs` (cases, *space, channels), under any name if no other stands beside it; if the axes are not equally
spaced, `coordinates.0` ... (n,), one per axis; perhaps `functionals` (functionals, *space, channels), weights. Halves
and integers become float32, which holds halves and integers of up to 24 bits exactly; a larger integer is refused and
not rounded. The options are the request's parameters, numbers in a text with commas where there are several; `timeout`
is in microseconds there, as other servers have it.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.query import DEFAULT_OUTPUTS, Options, Query, convert_options
from serving.refusals import Refusal
from serving.wanted import LISTS, read_list
from serving.wire.shapes import in_shape

_CODES = {"FP": ("<f", (16, 32, 64)), "INT": ("<i", (8, 16, 32, 64)), "UINT": ("<u", (8, 16, 32, 64))}
DTYPES: dict[str, np.dtype[Any]] = {
    f"{kind}{bits}": np.dtype(f"{code}{bits // 8}") for kind, (code, sizes) in _CODES.items() for bits in sizes
}
LARGEST_INTEGER = 2**24
LONGEST = 2**53  # microseconds; a longer timeout need not be told from it
COORDINATES = "coordinates."
FUNCTIONALS = "functionals"


def find_dtype(name: str, datatype: str) -> np.dtype[Any]:
    """The NumPy type of a tensor's datatype.

    Raises:
        Refusal: it is none of numbers, such as BYTES or BOOL.
    """
    if datatype not in DTYPES:
        raise Refusal(f"{name}: got datatype {datatype!r}, expected a field of numbers: one of {sorted(DTYPES)}")
    return DTYPES[datatype]


def from_bytes(name: str, datatype: str, shape: Sequence[int], content: memoryview) -> NDArray[Any]:
    """A tensor of any shape from its bytes, little-endian and in C order.

    Raises:
        Refusal: the datatype or the shape does not fit.
    """
    dtype = find_dtype(name, datatype)
    if len(content) % dtype.itemsize:
        raise Refusal(f"{name}: got {len(content)} bytes, expected a multiple of {dtype.itemsize}")
    return from_numbers(name, datatype, shape, np.frombuffer(content, dtype))


def from_numbers(name: str, datatype: str, shape: Sequence[int], numbers: NDArray[Any]) -> NDArray[Any]:
    """A tensor of any shape from its numbers, flat or nested, as float32 or float64.

    Raises:
        Refusal: the datatype or the shape does not fit, or a number that float32 may not hold.
    """
    dtype = find_dtype(name, datatype)
    if min(shape, default=0) < 0 or numbers.size != math.prod(shape):
        raise Refusal(f"{name}: got {numbers.size} numbers, expected those of shape {list(shape)}")
    if dtype.kind in "iu":
        _check_integers(name, datatype, numbers)
    if numbers.dtype not in (DTYPES["FP32"], DTYPES["FP64"]):
        numbers = numbers.astype(np.float32)
    return in_shape(numbers, shape, name)


def _check_integers(name: str, datatype: str, numbers: NDArray[Any]) -> None:
    wrong = (numbers < -LARGEST_INTEGER) | (numbers > LARGEST_INTEGER)
    if numbers.dtype.kind == "f":
        wrong |= numbers != np.rint(numbers)
    if wrong.any():
        raise Refusal(
            f"{name}: got {numbers[wrong][0]} as {datatype}, expected integers from -2^24 to 2^24, which float32 holds "
            "exactly, or a datatype FP32 or FP64"
        )


def make_query(
    tensors: Mapping[str, NDArray[Any]],
    parameters: Mapping[str, Any],
    outputs: Sequence[str],
    model: str,
    version: str | None,
) -> Query:
    """The query of a request's tensors, parameters and requested outputs; the default outputs if none is requested.

    Inputs are ([cases,] *space, channels), coordinates (n,) of each axis.

    Raises:
        Refusal: a tensor too many or too few, an unknown or ill-typed parameter.
    """
    return place_tensors(tensors, make_options(parameters, outputs, model, version))


def place_tensors(tensors: Mapping[str, NDArray[Any]], options: Options) -> Query:
    """The query of tensors and options: inputs ([cases,] *space, channels), coordinates (n,) of each axis, functionals.

    Raises:
        Refusal: a tensor too many or too few.
    """
    coordinates = sorted(name for name in tensors if name.startswith(COORDINATES))
    fields = [name for name in tensors if not name.startswith(COORDINATES) and name != FUNCTIONALS]
    if len(fields) != 1 or coordinates != [f"{COORDINATES}{i}" for i in range(len(coordinates))]:
        raise Refusal(
            f"inputs: got tensors {sorted(tensors)}, expected 'inputs' (or one of another name) and perhaps "
            f"'{COORDINATES}0', '{COORDINATES}1' ..., '{FUNCTIONALS}'"
        )
    points = tuple(tensors[name] for name in coordinates) or None
    return Query(options, tensors[fields[0]], None, points, tensors.get(FUNCTIONALS))


def make_options(parameters: Mapping[str, Any], outputs: Sequence[str], model: str, version: str | None) -> Options:
    """The options of a request's parameters and requested outputs.

    Raises:
        Refusal: an unknown or ill-typed parameter.
    """
    options = {**parameters, "model": model, "version": version, "outputs": list(outputs) or DEFAULT_OUTPUTS}
    options.pop("binary_data_output", None)
    if (content := options.pop("content_type", "np")) != "np":
        raise Refusal(f"parameters: got content_type {content!r}, expected 'np'")
    for name in LISTS & options.keys():
        options[name] = read_list(options[name], name)
    timeout = options.get("timeout")
    if isinstance(timeout, int | float) and not isinstance(timeout, bool):
        options["timeout"] = min(timeout, LONGEST) / 1e6
    return convert_options(options, "parameters")
