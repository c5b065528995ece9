"""What a query comes to for a model: shapes, grid and outputs checked."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pnol_jax.errors import InputError
from pnol_jax.servable import DERIVED, FUNCTIONAL, Signature
from serving.draws import check_draws
from serving.places import Place, Places
from serving.query import OUTPUTS, Query
from serving.refusals import Refusal, TooLarge
from serving.wanted import NOTHING, Wanted, check_functionals, find_wanted

DTYPES = (np.dtype(np.float32), np.dtype(np.float64))
_SEVERAL: dict[str, tuple[str, ...]] = {"interval": ("lower", "upper")}


@dataclass(frozen=True, eq=False)
class Question:
    """A query that fits a model. inputs: (cases, *space, channels), float32; `single`: it came without a cases axis."""

    inputs: NDArray[np.float32]
    place: Place
    single: bool
    outputs: tuple[str, ...]
    num_samples: int
    wanted: Wanted = NOTHING


def check(query: Query, places: Places, max_cases: int) -> Question:
    """Fit a query to a model.

    Raises:
        Refusal: shapes, dtype, values, grid or options do not fit; the message says what was got and expected.
    """
    manifest = places.servable.manifest
    signature = manifest.signature
    inputs, single = _cases(query, signature)
    if len(inputs) > max_cases:
        raise TooLarge(f"inputs: got {len(inputs)} cases, expected at most {max_cases} in one request")
    shape = inputs.shape[1:-1]
    place = _uniform(query, places, inputs) if query.coordinates is None else _place(query.coordinates, places, shape)
    wanted = find_wanted(query.options, query.functionals, signature, inputs.shape) if query.names else NOTHING
    outputs = _outputs(query.options.outputs, signature, wanted)
    asked = query.options.num_samples or manifest.num_samples
    draws = "samples" in outputs or (wanted.weights is not None and "functional" not in signature.answers)
    if draws:
        check_draws(asked, manifest.num_samples, (*inputs.shape[:-1], len(signature.outputs)), max_cases)
    check_functionals(wanted, signature, len(inputs), max_cases, asked)
    return Question(finite(inputs, "inputs"), place, single, outputs, asked, wanted)


def _cases(query: Query, signature: Signature) -> tuple[NDArray[Any], bool]:
    """The inputs with cases and channel axes, and whether the cases axis was added."""
    inputs, axes, channels = query.inputs, len(signature.axes), len(signature.inputs)
    if inputs.dtype not in DTYPES:
        raise Refusal(f"inputs: got dtype {inputs.dtype}, expected float32 or float64")
    if query.shape is not None:
        inputs = _shaped(inputs, query.shape, signature)
    if channels == 1 and inputs.ndim >= axes and (inputs.ndim == axes or inputs.shape[-1] != 1):
        inputs = inputs[..., None]
    single = inputs.ndim == axes + 1
    if single:
        inputs = inputs[None]
    if inputs.ndim != axes + 2 or inputs.shape[-1] != channels or 0 in inputs.shape[:-1]:
        space = ", ".join(axis.name or f"axis {i}" for i, axis in enumerate(signature.axes))
        raise Refusal(
            f"inputs: got shape {list(query.inputs.shape)}, expected ({space}, {channels}) "
            f"or (cases, {space}, {channels}), the last being the channels{' (one may be left out)' * (channels == 1)}"
        )
    return inputs, single


def _shaped(inputs: NDArray[Any], shape: tuple[int, ...], signature: Signature) -> NDArray[Any]:
    channels = len(signature.inputs)
    points = math.prod(shape) * channels
    if len(shape) != len(signature.axes) or points <= 0:
        raise Refusal(f"shape: got {list(shape)}, expected {len(signature.axes)} numbers of points, one per axis")
    if inputs.ndim == 1 and inputs.size and inputs.size % points == 0:
        cases = inputs.size // points
        return inputs.reshape(*((cases,) if cases > 1 else ()), *shape, channels)
    if shape not in (inputs.shape[: len(shape)], inputs.shape[1 : 1 + len(shape)]):
        raise Refusal(f"shape: got {list(shape)}, expected that of the inputs, which are {list(inputs.shape)}")
    return inputs


def _uniform(query: Query, places: Places, inputs: NDArray[Any]) -> Place:
    shape = inputs.shape[1:-1]
    try:
        return places.uniform(shape)
    except InputError as error:
        read = f"read as {len(inputs)} case(s) of {' x '.join(map(str, shape))} points"
        raise InputError(f"inputs: got shape {list(query.inputs.shape)}, {read}: {error}") from None


def _place(coordinates: Sequence[NDArray[Any]], places: Places, shape: tuple[int, ...]) -> Place:
    sizes = tuple(np.size(x) for x in coordinates)
    if any(np.ndim(x) != 1 for x in coordinates) or sizes != shape:
        got = [list(np.shape(x)) for x in coordinates]
        raise Refusal(f"coordinates: got shapes {got}, expected one list per axis of {list(shape)} numbers")
    return places.of(coordinates)


def finite(array: NDArray[Any], where: str) -> NDArray[np.float32]:
    """The numbers in float32, any shape.

    Raises:
        Refusal: some are too large for it, or no numbers.
    """
    if array.dtype == np.float32:
        single = np.ascontiguousarray(array)
    else:
        with np.errstate(over="ignore", invalid="ignore"):
            single = np.ascontiguousarray(array, np.float32)
    known = np.isfinite(single)
    if not known.all():
        first = [int(i) for i in np.argwhere(~known)[0]]
        raise Refusal(f"{where}: got {int((~known).sum())} values that are not finite in float32, the first at {first}")
    return single


def _outputs(names: Sequence[str], signature: Signature, wanted: Wanted) -> tuple[str, ...]:
    """Each output once, in the order asked; "interval" stands for lower and upper, "functional" for what is asked."""
    named: tuple[str, ...] = ()
    several = _SEVERAL
    if wanted is not NOTHING:
        named = wanted.outputs
        several = {**_SEVERAL, "functional": tuple(name for name in named if name in FUNCTIONAL)}
    spread = [*(part for name in names for part in several.get(name) or (name,)), *named]
    available = (*(OUTPUTS if "samples" in signature.answers else OUTPUTS[:-1]), *signature.figure_names, *named)
    unknown = [name for name in spread if name not in available]
    if "samples" in unknown:
        raise Refusal(
            f"outputs: got samples, of which a model by '{signature.method}' has none; expected some of "
            f"{[*available, 'interval']}, or a model whose posterior draws fields, such as 'coloured' or 'ensemble'"
        )
    unnamed = [name for name in unknown if name in (*DERIVED, "functional")]
    if unnamed:
        options = "quantiles, thresholds, functionals, tail or functional_thresholds"
        raise Refusal(f"outputs: got {unnamed}, expected what they are to be made of: {options}")
    if unknown or not spread:
        raise Refusal(f"outputs: got {unknown or 'none'}, expected some of {[*available, 'interval']}")
    return tuple(dict.fromkeys(spread))
