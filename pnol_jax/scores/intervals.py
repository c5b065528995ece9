"""Scores of an interval at each point, (lower, upper): `predictive.interval(level)` or `predictive.band`."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from pnol_jax import collectives
from pnol_jax.collectives import SPACE
from pnol_jax.scores.measure import check_shape, field_mean, shares

Interval = tuple[jax.Array, jax.Array]


def coverage(interval: Interval, truth: jax.Array, weights: ArrayLike) -> jax.Array:
    """The share of the domain and the channels where the truth is inside, (batch,)."""
    return field_mean(_inside(interval, truth).astype(truth.dtype), weights)


def simultaneous_coverage(interval: Interval, truth: jax.Array, weights: ArrayLike) -> jax.Array:
    """1 where the truth is inside at every point of the grid and in every channel, else 0: (batch,)."""
    inside = _inside(interval, truth) | (shares(truth, weights) == 0)
    outside = jnp.any(~inside, axis=tuple(range(1, truth.ndim))).astype(truth.dtype)
    return 1 - collectives.largest(outside, SPACE)


def interval_score(interval: Interval, truth: jax.Array, weights: ArrayLike, level: float | jax.Array) -> jax.Array:
    """Width, plus 2 / (1 - level) times the distance of a truth outside: (batch,), in the unit of the outputs.

    Proper for central intervals of that level. Source: Gneiting, Raftery (2007), equation 43.
    """
    lower, upper = interval
    check_shape("truth", truth, lower)
    outside = jnp.maximum(lower - truth, 0) + jnp.maximum(truth - upper, 0)
    return field_mean(upper - lower + 2 / (1 - level) * outside, weights)


def interval_width(interval: Interval, weights: ArrayLike) -> jax.Array:
    """The mean width, (batch,), in the unit of the outputs."""
    lower, upper = interval
    return field_mean(upper - lower, weights)


def _inside(interval: Interval, truth: jax.Array) -> jax.Array:
    lower, upper = interval
    check_shape("truth", truth, lower)
    return (lower <= truth) & (truth <= upper)
