"""The Gaussian likelihood of a field by quadrature, and how many independent observations a case is worth.

With share(x) the quadrature weight at x over their sum, a case of n observations in each channel has

    log p(y | f) = -n / 2 int share sum_c [(y_c - f_c)^2 / s_c + log(2 pi s_c)],

of which n share(x) / s_c(x) is the Hessian in f_c(x). On a uniform grid with n the number of its points this is
independent noise at every point ("points"). Neighbours that err alike are worth less than that: then the number of
independent observations in a case, n times its channels, is a smaller one.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from pnol_jax import collectives
from pnol_jax.bases import GridOperands
from pnol_jax.collectives import CASES, SPACE

Observations = Literal["points"] | float


class Fit(NamedTuple):
    """Sums over cases: n int share (y - f)^2 / s, n for each channel, n int share log(2 pi s)."""

    residual: jax.Array
    observations: jax.Array
    log_noise: jax.Array


def worth(grid: GridOperands, observations: Observations, field: jax.Array) -> jax.Array:
    """Observations that each point stands for in each channel of a field, n share(x): (*space), or (batch, *space)."""
    weights = jnp.asarray(grid.weights(), field.dtype)
    share = weights / _over_space(weights, grid)
    if observations == "points":
        return share * _over_space(jnp.asarray(grid.mask(), field.dtype), grid)
    return share * (observations / field.shape[-1])


def information(
    variance: jax.Array, mask: jax.Array, grid: GridOperands, observations: Observations, like: jax.Array
) -> jax.Array:
    """The Hessian n share(x) / s(x) of the negative log-likelihood, (batch, *space, out); zero where mask is."""
    each = worth(grid, observations, like)[..., None] / variance
    return jnp.broadcast_to(each, like.shape) * mask.reshape(-1, *(1,) * (like.ndim - 1))


def fit_of(mean: jax.Array, variance: jax.Array, truth: jax.Array, precision: jax.Array) -> Fit:
    """The sums over a batch, given its `information` as `precision`; fields (batch, *space, out), normalised."""
    variance = jnp.broadcast_to(variance, mean.shape)
    kept = precision > 0
    count = jnp.where(kept, precision * variance, 0)
    sums = (
        jnp.sum(jnp.where(kept, precision * jnp.square(truth - mean), 0)),
        jnp.sum(count),
        jnp.sum(count * jnp.log(2 * jnp.pi * variance)),
    )
    return Fit(*(collectives.total(collectives.total(value, SPACE), CASES) for value in sums))


def _over_space(values: jax.Array, grid: GridOperands) -> jax.Array:
    space = tuple(range(-len(grid.axes), 0))
    return collectives.total(jnp.sum(values, axis=space, keepdims=True), SPACE)
