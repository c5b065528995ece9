"""Split conformal bands: calibrated with a guarantee that needs no assumption on the model or the noise."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, Literal, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike
from numpy.typing import NDArray

from pnol_jax import collectives
from pnol_jax.calibration.record import Arrays, Metadata, read_array, read_cases
from pnol_jax.collectives import SPACE
from pnol_jax.errors import InputError
from pnol_jax.predictive import Predictive
from pnol_jax.scores.measure import residual, shares

Kind = Literal["pointwise", "simultaneous"]
# How many quantiles over its domain stand for a case; the last of them is the supremum.
QUANTILES: Mapping[str, int] = {"pointwise": 1000, "simultaneous": 1}
STATEMENTS: Mapping[str, str] = {
    "pointwise": "the truth of a new case is inside on a share of the domain and the channels "
    "that is on average at least the level",
    "simultaneous": "the truth of a new case is inside at every point of its grid and in every channel "
    "with a probability of at least the level",
}


def conformity_scores(
    predictive: Predictive, truth: jax.Array, weights: ArrayLike, kind: Kind, floor: ArrayLike = 0.0
) -> jax.Array:
    """How large |truth - mean| / max(std, floor) is over each case, (batch, quantiles), for `SplitConformal`.

    Quantile k of q is the least value that the ratio does not exceed on a share k / q of domain and channels, so the
    scores of several grids go together and the last quantile is the supremum.

    Args:
        predictive: mean and variances, (batch, *space, channels).
        truth: (batch, *space, channels).
        weights: quadrature weights, (*space) or (batch, *space), zero on padding.
        kind: "pointwise" (1000 quantiles) or "simultaneous" (1).
        floor: least modulation, () or (channels,), in the unit of the outputs. It keeps points where the model is sure
            and exact (a boundary) from ruling the supremum. It must be fixed beforehand, say a thousandth of the
            outputs' standard deviation over the training cases: from the calibration cases it voids the guarantee.
    """
    error, share = jnp.abs(residual(predictive, truth)), shares(truth, weights) / truth.shape[-1]
    ratio = jnp.where(error == 0, 0, error / _modulation(predictive, floor))
    ratio = jnp.where(share > 0, ratio, share).reshape(len(truth), -1)
    share = jnp.broadcast_to(share, truth.shape).reshape(len(truth), -1)
    return jax.vmap(_quantiles, in_axes=(0, 0, None))(ratio, share, _number_of_quantiles(kind))


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


def _modulation(predictive: Predictive, floor: ArrayLike) -> jax.Array:
    return jnp.maximum(predictive.std, jnp.asarray(floor, predictive.mean.dtype))


def least_cases(level: float) -> int:
    """The fewest calibration cases from which a band of this level can be had: level / (1 - level), rounded up."""
    exact = _exact(level)
    return math.ceil(exact / (1 - exact))


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class SplitConformal:
    """The band mean +- factor * max(std, floor).

    The n calibration cases and a new one must be exchangeable, their grids included, and not seen in training. The
    guarantee is then exact for any n that is accepted, on average over calibration sets.

    "simultaneous": P(the truth is inside at every point of the grid and in every channel) >= level. The factor is the
    ceil((n + 1) level)-th smallest of the cases' suprema (Diquigiovanni, Fontana, Vantini 2022, Conformal prediction
    bands for multivariate functional data, with the modulation max(std, floor)).

    "pointwise": E(share of domain and channels where the truth is inside) >= level: at a point drawn at random from the
    domain of a new case the truth is inside with that probability. At one given point it need not be; that would take a
    factor for each point, and so a single grid. Nor does it hold for the quantile of all ratios of all cases in one
    pool, as if points were cases: where they depend on each other that factor is too small. With q quantiles of each
    case the factor is the ceil(q (n + 1) level)-th smallest of all q n, as if the new case were outside everywhere:
    conformal control of the share outside (Angelopoulos, Bates, Fisch, Lei, Schuster 2024, Conformal risk control,
    Theorem 1). For q = 1 it is the simultaneous rule.
    """

    factor: jax.Array  # ()
    floor: jax.Array  # () or (channels,)
    level: float = field(metadata={"static": True})
    kind: Kind = field(metadata={"static": True})
    cases: int = field(metadata={"static": True})

    @classmethod
    def from_scores(cls, scores: ArrayLike, level: float, kind: Kind, floor: ArrayLike = 0.0) -> "SplitConformal":
        """From the `conformity_scores` of calibration cases, (cases, quantiles), with the same kind and floor.

        Raises:
            InputError: a level outside (0, 1); fewer cases than it needs; scores of another kind, or not finite.
        """
        rows = _check_scores(np.asarray(scores), kind)
        cases, quantiles = rows.shape
        if cases < least_cases(level):
            raise InputError(
                f"calibration: got {cases} cases, expected at least {least_cases(level)} for a level of {level:g}; "
                f"{cases} are enough up to {math.floor(1000 * cases / (cases + 1)) / 1000:g}"
            )
        rank = math.ceil(quantiles * (cases + 1) * _exact(level))
        factor = float(np.partition(rows, rank - 1, axis=None)[rank - 1])
        if math.isinf(factor):
            raise InputError("conformity scores: got an infinite quantile, expected a positive std or a floor")
        return cls(jnp.asarray(factor, float), jnp.asarray(floor, float), float(level), kind, cases)

    def __call__(self, predictive: Predictive) -> Predictive:
        """The same distribution, with lower and upper set."""
        half = self.factor * _modulation(predictive, self.floor)
        return replace(predictive, lower=predictive.mean - half, upper=predictive.mean + half)

    @property
    def guarantee(self) -> Metadata:
        """What is promised, as plain data."""
        return {
            "method": "split_conformal",
            "level": self.level,
            "kind": self.kind,
            "cases": self.cases,
            "statement": f"{STATEMENTS[self.kind]}, if it is exchangeable with the {self.cases} calibration cases",
        }

    def to_dict(self) -> tuple[Arrays, Metadata]:
        """Arrays by dotted name, and the guarantee."""
        return {"split_conformal.factor": self.factor, "split_conformal.floor": self.floor}, self.guarantee

    @classmethod
    def from_dict(cls, arrays: Mapping[str, Any], metadata: Mapping[str, Any]) -> "SplitConformal":
        """The inverse of `to_dict`; other arrays may stand beside."""
        level, kind = metadata.get("level"), metadata.get("kind")
        _number_of_quantiles(kind)
        return cls(
            factor=read_array(arrays, "split_conformal.factor"),
            floor=read_array(arrays, "split_conformal.floor"),
            level=float(_exact(level)),
            kind=cast(Kind, kind),
            cases=read_cases(metadata),
        )


def _exact(level: Any) -> Fraction:
    """The level as it is written: (n + 1) * 0.55 in binary rounds to the wrong side of a whole number."""
    if not isinstance(level, float | np.floating) or not 0 < level < 1:
        raise InputError(f"calibration.level: got {level!r}, expected a number between 0 and 1")
    return Fraction(str(level))


def _number_of_quantiles(kind: Any) -> int:
    if kind not in QUANTILES:
        raise InputError(f"calibration.kind: got {kind!r}, expected 'pointwise' or 'simultaneous'")
    return QUANTILES[kind]


def _check_scores(rows: NDArray[Any], kind: Kind) -> NDArray[Any]:
    quantiles = _number_of_quantiles(kind)
    if rows.ndim != 2 or rows.shape[1] != quantiles:
        raise InputError(f"conformity scores: got shape {rows.shape}, expected (cases, {quantiles}) for {kind!r}")
    wrong = np.flatnonzero(~np.all(rows >= 0, axis=1))
    if wrong.size:
        raise InputError(f"conformity scores: case {wrong[0]} has one that is not a number, or no points of weight")
    return rows
