"""Outputs at levels, thresholds and weights that a caller names, made on the host of what the programs answered.

Moments, stated quantiles and draws are what the cache holds; nothing of this needs the device. The exact distribution
of a functional does: the model has a program for it, or it is estimated by draws.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from pnol_jax import quantiles
from pnol_jax.normal import cdf
from pnol_jax.risk import draws, gaussian
from serving.wanted import Wanted

Float64 = NDArray[np.float64]
Kind = Literal["quantiles", "gaussian"]


class Quantiles(msgspec.Struct, frozen=True):
    """What an answer's `quantiles` are: of the model's own stated quantiles, else of the Gaussian of its moments."""

    levels: tuple[float, ...]
    kind: Kind


class Exceedance(msgspec.Struct, frozen=True):
    """What an answer's `exceedance` is the probability of, at each point, and by which distribution."""

    thresholds: tuple[float, ...]
    kind: Kind


class Functional(msgspec.Struct, frozen=True):
    """What an answer's functionals rest on: the posterior's exact (normal) distribution, or so many draws.

    The level of `functional.tail` and the thresholds of `functional.exceedance`, where they were asked for.
    """

    kind: Literal["exact", "samples"]
    draws: int | None = None
    tail: float | None = None
    thresholds: tuple[float, ...] | None = None


@dataclass(frozen=True, eq=False)
class Answered:
    """What the programs gave: moments, quantiles and draws by name; at the signature's `levels`, none if it has none.

    quadrature: of the grid, (*space), its weights in units of volume. num_samples: how many of the draws count.
    """

    arrays: Mapping[str, NDArray[np.float32]]
    levels: quantiles.Levels
    quadrature: Float64
    num_samples: int

    def field(self, name: str) -> Float64:
        """An array, of any shape, in float64, in which everything here is computed."""
        return self.arrays[name].astype(np.float64)

    @property
    def kind(self) -> Kind:
        """Which distribution at a point is the model's."""
        return "quantiles" if self.levels else "gaussian"


Stated = dict[str, msgspec.Struct]
Arrays = dict[str, NDArray[np.float32]]


def derive(wanted: Wanted, answered: Answered) -> tuple[Arrays, Stated]:
    """All outputs that are wanted, by name, and what is said of them.

    quantiles (cases, levels, *space, channels), exceedance (cases, thresholds, *space, channels); functional.mean,
    .std, .tail and .exceedance (cases, functionals).

    Raises:
        InputError: too few draws for the tail.
    """
    arrays: dict[str, Float64] = {}
    stated: Stated = {}
    if wanted.quantiles is not None:
        arrays["quantiles"] = quantiles_at(wanted.quantiles, answered)
        stated["quantiles"] = Quantiles(wanted.quantiles, answered.kind)
    if wanted.thresholds is not None:
        arrays["exceedance"] = exceedance_at(wanted.thresholds, answered)
        stated["exceedance"] = Exceedance(wanted.thresholds, answered.kind)
    if wanted.weights is not None:
        exact = "functional.mean" in answered.arrays
        found = _normal(wanted, answered) if exact else _drawn(wanted, wanted.weights, answered)
        arrays |= {f"functional.{name}": values for name, values in found.items()}
        stated["functional"] = Functional(
            "exact" if exact else "samples",
            None if exact else answered.num_samples,
            wanted.tail,
            wanted.functional_thresholds,
        )
    return {name: values.astype(np.float32) for name, values in arrays.items()}, stated


def quantiles_at(levels: tuple[float, ...], answered: Answered) -> Float64:
    """The quantiles at each point, (cases, levels, *space, channels)."""
    scores = [NormalDist().inv_cdf(level) for level in levels]
    return _stacked(_quantile(answered), scores)


def _quantile(answered: Answered) -> Callable[[float], Float64]:
    if answered.levels:
        own = np.moveaxis(answered.field("quantiles"), 1, 0)
        return lambda score: np.asarray(quantiles.quantile(answered.levels, own, score))
    mean, std = answered.field("mean"), np.sqrt(_variance(answered))
    return lambda score: mean + score * std


def exceedance_at(thresholds: tuple[float, ...], answered: Answered) -> Float64:
    """The probability that the field exceeds each threshold at each point, (cases, thresholds, *space, channels)."""
    mean = answered.field("mean")
    if answered.levels:
        own = np.moveaxis(answered.field("quantiles"), 1, 0)
        return _stacked(lambda at: cdf(-quantiles.score(answered.levels, own, np.full_like(mean, at))), thresholds)
    variance = _variance(answered)
    return _stacked(lambda at: np.asarray(gaussian.exceedance(mean, variance, at)), thresholds)


def _stacked(one: Callable[[float], Any], values: Any) -> Float64:
    return np.stack([one(value) for value in values], axis=1)


def _variance(answered: Answered) -> Float64:
    return answered.field("aleatoric") + answered.field("epistemic")


def _normal(wanted: Wanted, answered: Answered) -> dict[str, Float64]:
    mean, std = answered.field("functional.mean"), answered.field("functional.std")
    found = {"mean": mean, "std": std}
    if wanted.tail is not None:
        found["tail"] = gaussian.tail_mean(mean, std**2, wanted.tail)
    if wanted.functional_thresholds is not None:
        found["exceedance"] = gaussian.exceedance(mean, std**2, np.asarray(wanted.functional_thresholds))
    return found


def _drawn(wanted: Wanted, weights: NDArray[np.float32], answered: Answered) -> dict[str, Float64]:
    fields = answered.arrays["samples"][:, : answered.num_samples]
    values = np.moveaxis(integrals(fields, weights, answered.quadrature), 1, 0)  # draws first
    found = {"mean": values.mean(axis=0), "std": values.std(axis=0, ddof=1)}
    if wanted.tail is not None:
        found["tail"] = np.asarray(draws.tail_mean(values, wanted.tail))
    if wanted.functional_thresholds is not None:
        found["exceedance"] = np.asarray(draws.exceedance(values, np.asarray(wanted.functional_thresholds)))
    return found


def integrals(fields: NDArray[Any], weights: NDArray[Any], quadrature: Float64) -> Float64:
    """int sum_c w_c u_c dx of fields (..., *space, channels) and weights (functionals, *space, channels).

    Returns:
        (..., functionals).
    """
    shares = (weights * quadrature[..., None]).reshape(len(weights), -1)
    return np.asarray(fields.reshape(*fields.shape[: -weights.ndim + 1], -1).astype(np.float64) @ shares.T)
