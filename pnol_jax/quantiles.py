"""A distribution given by some of its quantiles: linear between them, and beyond, in the normal score.

With quantiles q_1 <= ... <= q_L at levels l_j, and normal scores z_j = Phi^-1(l_j), the quantile function is

    Q(z) = q_1 + sum_j f_j(z) (q_(j+1) - q_j),   f_j(z) = (z - z_j) / (z_(j+1) - z_j), clipped to [0, 1],

where the first f is not clipped below and the last not above: each tail is that of a Gaussian through the outermost
two quantiles. Of a Gaussian's quantiles it is that Gaussian. Mean and variance are those of Q(Z) with Z ~ N(0, 1).
"""

import functools
import itertools
import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtr
from numpy.typing import NDArray

Levels = tuple[float, ...]
Float64 = NDArray[np.float64]


def normal_scores(levels: Sequence[float]) -> list[float]:
    """The quantiles of N(0, 1) at the levels."""
    return [NormalDist().inv_cdf(level) for level in levels]


def weights(levels: Levels, score: Any) -> list[Any]:
    """The weights of q_1 ... q_L in the quantile at a normal score: numbers, or arrays of any kind."""
    parts = _parts(levels, score)
    return [1 - parts[0], *(one - other for one, other in itertools.pairwise(parts)), parts[-1]]


def quantile(levels: Levels, quantiles: Any, score: Any) -> Any:
    """The quantile at a normal score, an array or a number: quantiles (levels, ...) -> (...)."""
    return sum(weight * values for weight, values in zip(weights(levels, score), quantiles, strict=True))


def score(levels: Levels, quantiles: Any, value: Any) -> Any:
    """The normal score of a value, the inverse of `quantile`: (levels, ...) and (...) -> (...), of JAX or of NumPy."""
    z, tiny = normal_scores(levels), np.finfo(value.dtype).tiny ** 0.5
    xp = value.__array_namespace__()
    total = xp.full(value.shape, z[0], dtype=value.dtype)
    for j, (low, high) in enumerate(_ends(levels)):
        gap = xp.maximum(quantiles[j + 1] - quantiles[j], tiny)
        total = total + (z[j + 1] - z[j]) * xp.clip((value - quantiles[j]) / gap, low, high)
    return total


class Moments(NamedTuple):
    """Mean = mean @ q, variance = |root.T @ q|^2 (the root does not see a constant)."""

    mean: Float64
    root: Float64


@functools.lru_cache(maxsize=64)
def moments(levels: Levels) -> Moments:
    """What mean and variance are in the quantiles: (L,) and (L, L)."""
    z, count = normal_scores(levels), len(levels)
    mean, second = np.zeros(count), np.zeros((count, count))
    bounds = [-math.inf, *z[1:-1], math.inf]
    for j in range(count - 1):
        constant, slope, gap = np.zeros(count), np.zeros(count), z[j + 1] - z[j]
        constant[j : j + 2], slope[j : j + 2] = (z[j + 1] / gap, -z[j] / gap), (-1 / gap, 1 / gap)
        power = _truncated(bounds[j], bounds[j + 1])
        mean += power[0] * constant + power[1] * slope
        mixed = np.outer(constant, slope)
        second += power[0] * np.outer(constant, constant) + power[1] * (mixed + mixed.T)
        second += power[2] * np.outer(slope, slope)
    values, vectors = np.linalg.eigh(second - np.outer(mean, mean))
    return Moments(mean, np.asarray(vectors * np.sqrt(np.maximum(values, 0))))


def mean_and_variance(levels: Levels, quantiles: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Of the distribution at each point: (levels, ...) -> (...)."""
    of = moments(levels)
    middle = quantiles[len(levels) // 2]
    apart = quantiles - middle  # so that variances lose nothing to a large mean
    mean = middle + jnp.tensordot(jnp.asarray(of.mean, apart.dtype), apart, axes=1)
    return mean, jnp.sum(jnp.square(jnp.tensordot(jnp.asarray(of.root.T, apart.dtype), apart, axes=1)), axis=0)


def crps(levels: Levels, quantiles: jax.Array, value: jax.Array) -> jax.Array:
    """The continuous ranked probability score at each point, in closed form: (levels, ...) and (...) -> (...).

    int (F(x) - 1(x >= value))^2 dx, piece by piece in the normal score, where F is Phi and dx is the slope of Q.
    """
    z, total, at = normal_scores(levels), jnp.zeros_like(value), score(levels, quantiles, value)
    bounds = [-math.inf, *z[1:-1], math.inf]
    for j in range(len(levels) - 1):
        slope = (quantiles[j + 1] - quantiles[j]) / (z[j + 1] - z[j])
        low, high = bounds[j : j + 2]
        inside = jnp.clip(at, low, high)
        below = _square_below(inside) - (0 if j == 0 else _square_below(jnp.asarray(low, value.dtype)))
        above = _square_below(-inside) - (0 if math.isinf(high) else _square_below(jnp.asarray(-high, value.dtype)))
        total = total + slope * (below + above)
    return total


def _square_below(z: jax.Array) -> jax.Array:
    """The integral of Phi^2 up to z: z Phi(z)^2 + 2 Phi(z) phi(z) - Phi(sqrt(2) z) / sqrt(pi)."""
    phi = jnp.exp(-0.5 * jnp.square(z)) / math.sqrt(2 * math.pi)
    return z * ndtr(z) ** 2 + 2 * ndtr(z) * phi - ndtr(math.sqrt(2) * z) / math.sqrt(math.pi)


def _truncated(low: float, high: float) -> tuple[float, float, float]:
    """The integrals of 1, z and z^2 against the density of N(0, 1) between two scores."""
    normal = NormalDist()

    def ends(function: Any) -> float:
        return float(sum(sign * function(x) for sign, x in ((1, high), (-1, low)) if math.isfinite(x)))

    mass = (1.0 if math.isinf(high) else normal.cdf(high)) - (0.0 if math.isinf(low) else normal.cdf(low))
    return mass, -ends(normal.pdf), mass - ends(lambda x: x * normal.pdf(x))


def _ends(levels: Levels) -> list[tuple[float, float]]:
    """Where the parts are clipped."""
    pieces = len(levels) - 1
    return [(-math.inf if j == 0 else 0.0, math.inf if j == pieces - 1 else 1.0) for j in range(pieces)]


def _parts(levels: Levels, at: Any) -> list[Any]:
    z = normal_scores(levels)
    at = np.asarray(at) if isinstance(at, float) else at
    return [((at - z[j]) / (z[j + 1] - z[j])).clip(*ends) for j, ends in enumerate(_ends(levels))]
