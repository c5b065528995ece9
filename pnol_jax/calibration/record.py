"""How a calibrator is written down: arrays by dotted name, and plain data; checked when read back."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, TypeVar, cast

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from pnol_jax.errors import InputError

T = TypeVar("T")
Arrays = dict[str, jax.Array]
Metadata = dict[str, Any]


def read_array(arrays: Mapping[str, Any], name: str) -> jax.Array:
    """The array of that name, of any shape, traced or not."""
    if name not in arrays:
        raise InputError(f"calibration: got no array {name!r}, expected it beside the weights")
    return jnp.asarray(arrays[name])


def read_cases(metadata: Mapping[str, Any]) -> int:
    """The number of calibration cases."""
    cases = metadata.get("cases")
    if not isinstance(cases, int) or cases < 1:
        raise InputError(f"calibration.cases: got {cases!r}, expected a positive whole number")
    return cases


def read_share(metadata: Mapping[str, Any], name: str) -> float:
    """A number between 0 and 1 of that name."""
    return float(exact(metadata.get(name), f"calibration.{name}"))


def exact(share: Any, what: str) -> Fraction:
    """A number in (0, 1) as it is written: (n + 1) * 0.55 in binary rounds to the wrong side of a whole number."""
    if not isinstance(share, float | np.floating) or not 0 < share < 1:
        raise InputError(f"{what}: got {share!r}, expected a number between 0 and 1")
    return Fraction(str(share))


def one_of(value: Any, names: Sequence[T], what: str) -> T:
    """The value, if it is among the names."""
    if value not in names:
        raise InputError(f"{what}: got {value!r}, expected {' or '.join(map(repr, names))}")
    return cast(T, value)


def check_rows(rows: Any, width: int | None, what: str) -> NDArray[Any]:
    """Scores with one row a case, (cases, width), none of which is not a number; `width` None: any.

    Raises:
        InputError: another shape, no cases, or a row with what is not a number.
    """
    found = np.asarray(rows)
    if found.ndim != 2 or not len(found) or (width is not None and found.shape[1] != width):
        expected = "(cases, numbers)" if width is None else f"(cases, {width})"
        raise InputError(f"{what}: got shape {found.shape}, expected {expected} with at least one case")
    wrong = np.flatnonzero(np.any(np.isnan(found), axis=1))
    if wrong.size:
        raise InputError(f"{what}: case {wrong[0]} has one that is not a number, or no points of weight")
    return found


def check_enough(cases: int, least: int, why: str) -> None:
    """Refuse a calibration set that is too small, naming the size that it needs.

    Raises:
        InputError: there are fewer cases than `least`.
    """
    if cases < least:
        raise InputError(f"calibration: got {cases} cases, expected at least {least}, {why}")
