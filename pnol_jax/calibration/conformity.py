"""How far the truth is from the centre of a band over each case: what every conformal calibrator is made from."""

import math
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike
from numpy.typing import NDArray

from pnol_jax import collectives
from pnol_jax.calibration.modulation import Modulation, ModulationKind
from pnol_jax.calibration.record import exact
from pnol_jax.collectives import SPACE
from pnol_jax.errors import InputError
from pnol_jax.predictive import Predictive
from pnol_jax.scores.measure import shares

Kind = Literal["pointwise", "simultaneous"]
# How many quantiles over its domain stand for a case; the last of them is the supremum.
QUANTILES: Mapping[str, int] = {"pointwise": 1000, "simultaneous": 1}


def conformity_scores(
    predictive: Predictive,
    truth: jax.Array,
    weights: ArrayLike,
    kind: Kind,
    floor: ArrayLike = 0.0,
    modulation: ModulationKind = "std",
    level: float = 0.9,
) -> jax.Array:
    """How large the least factor that holds the truth is over each case, (batch, quantiles), for `SplitConformal`.

    Quantile k of q is the least value that it does not exceed on a share k / q of domain and channels, so the scores of
    several grids go together and the last quantile is the supremum.

    Args:
        predictive: mean and variances, (batch, *space, channels).
        truth: (batch, *space, channels).
        weights: quadrature weights, (*space) or (batch, *space), zero on padding.
        kind: "pointwise" (1000 quantiles) or "simultaneous" (1).
        floor: least modulation, () or (channels,), in the unit of the outputs, as in `Modulation`.
        modulation: "std": |truth - mean| / max(std, floor); others as in `Modulation`.
        level: of the central interval that "quantile" modulates with.
    """
    shape = Modulation(jnp.asarray(floor, predictive.mean.dtype), modulation, level)
    ratio, share = shape.ratio(predictive, truth), shares(truth, weights) / truth.shape[-1]
    ratio = jnp.where(share > 0, ratio, share).reshape(len(truth), -1)
    share = jnp.broadcast_to(share, truth.shape).reshape(len(truth), -1)
    return jax.vmap(_quantiles, in_axes=(0, 0, None))(ratio, share, number_of_quantiles(kind))


def _quantiles(values: jax.Array, share: jax.Array, number: int) -> jax.Array:
    """The least values that are not exceeded on shares 1/number, ..., 1; values at least zero, shares of sum one."""
    supremum = collectives.largest(jnp.max(values), SPACE)
    if number == 1:
        return supremum[None]
    # Equal weights add up to a level exactly at many a point; their rounding must not decide which of two it is.
    levels = jnp.arange(1, number, dtype=share.dtype) / number * (1 - np.finfo(share.dtype).eps ** 0.75)
    order = jnp.argsort(values)
    below = jnp.append(jnp.zeros(1, share.dtype), jnp.cumsum(share[order]))
    ordered = values[order]

    # Floats that are not negative are ordered as their bits are, so halving finds the very value, wherever it lies.
    integer = jnp.int64 if values.dtype == jnp.float64 else jnp.int32

    def halve(_: int, ends: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = ends
        middle = low + (high - low) // 2
        threshold = lax.bitcast_convert_type(middle, values.dtype)
        reached = collectives.total(below[jnp.searchsorted(ordered, threshold, side="right")], SPACE) >= levels
        return jnp.where(reached, low, middle + 1), jnp.where(reached, middle, high)

    top = jnp.full(levels.shape, lax.bitcast_convert_type(supremum, integer))
    _, found = lax.fori_loop(0, 8 * values.dtype.itemsize, halve, (jnp.zeros_like(top), top))
    return jnp.append(lax.bitcast_convert_type(found, values.dtype), supremum)


def number_of_quantiles(kind: Any) -> int:
    """How many quantiles the scores of a kind have.

    Raises:
        InputError: no such kind.
    """
    if kind not in QUANTILES:
        raise InputError(f"calibration.kind: got {kind!r}, expected 'pointwise' or 'simultaneous'")
    return QUANTILES[kind]


def least_cases(level: float) -> int:
    """The fewest calibration cases from which a band of this level can be had: level / (1 - level), rounded up."""
    share = exact(level, "calibration.level")
    return math.ceil(share / (1 - share))


def conformal_factor(rows: ArrayLike, level: float, kind: Kind) -> float:
    """The ceil(q (n + 1) level)-th smallest of the q quantiles of n cases, (cases, quantiles); see `SplitConformal`.

    Raises:
        InputError: a level outside (0, 1); fewer cases than it needs; scores of another kind, or not finite.
    """
    found = check_scores(np.asarray(rows), kind)
    cases, quantiles = found.shape
    if cases < least_cases(level):
        raise InputError(
            f"calibration: got {cases} cases, expected at least {least_cases(level)} for a level of {level:g}; "
            f"{cases} are enough up to {math.floor(1000 * cases / (cases + 1)) / 1000:g}"
        )
    rank = math.ceil(quantiles * (cases + 1) * exact(level, "calibration.level"))
    return finite_factor(float(np.partition(found, rank - 1, axis=None)[rank - 1]))


def finite_factor(factor: float) -> float:
    """The factor, if it is finite."""
    if math.isinf(factor):
        raise InputError("conformity scores: got an infinite quantile, expected a positive std or a floor")
    return factor


def check_scores(rows: NDArray[Any], kind: Kind) -> NDArray[Any]:
    """Scores of that kind, (cases, quantiles), at least zero.

    Raises:
        InputError: another shape, or what is not a number.
    """
    quantiles = number_of_quantiles(kind)
    if rows.ndim != 2 or rows.shape[1] != quantiles:
        raise InputError(f"conformity scores: got shape {rows.shape}, expected (cases, {quantiles}) for {kind!r}")
    wrong = np.flatnonzero(~np.all(rows >= 0, axis=1))
    if wrong.size:
        raise InputError(f"conformity scores: case {wrong[0]} has one that is not a number, or no points of weight")
    return rows
