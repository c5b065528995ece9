"""What training minimises, as integrals over the domain: no loss depends on the resolution or on padding."""

import jax
import jax.numpy as jnp
from jax import lax

from pnol_jax import collectives
from pnol_jax.bases import GridOperands
from pnol_jax.calculus import derivative
from pnol_jax.collectives import CASES, SPACE


def domain_mean(field: jax.Array, grid: GridOperands) -> jax.Array:
    """The mean over the domain by quadrature: (batch, *space, channels) -> (batch, channels)."""
    weights = jnp.asarray(grid.weights(), field.dtype)
    space = tuple(range(-len(grid.axes), 0))
    share = (weights / collectives.total(jnp.sum(weights, axis=space, keepdims=True), SPACE))[..., None]
    here = jnp.sum(jnp.where(share > 0, share * field, 0), axis=tuple(range(1, field.ndim - 1)))
    return collectives.total(here, SPACE)


def batch_mean(values: jax.Array) -> jax.Array:
    """The mean over the whole batch and the channels: (batch, channels) -> a number."""
    return collectives.mean(jnp.mean(values), CASES)


def _ratio(error: jax.Array, truth: jax.Array) -> jax.Array:
    """Mean over cases and channels of the root of error over truth, both squared norms (batch, channels)."""
    return batch_mean(jnp.sqrt(error / jnp.maximum(truth, 1e-30) + 1e-12))


def relative_l2(prediction: jax.Array, truth: jax.Array, grid: GridOperands) -> jax.Array:
    """||prediction - truth|| / ||truth|| in L2 over the domain, averaged: (batch, *space, channels) -> ()."""
    error = domain_mean(jnp.square(prediction - truth), grid)
    return _ratio(error, domain_mean(jnp.square(truth), grid))


def relative_h1(prediction: jax.Array, truth: jax.Array, grid: GridOperands) -> jax.Array:
    """As `relative_l2`, () too, in H1: values and first derivatives, of the projection onto the operator's bases.

    Coordinates are measured in lengths of the axes, so that neither part depends on the units.
    """
    error, norm = _h1_squared(prediction - truth, grid), _h1_squared(truth, grid)
    return _ratio(error, norm)


def _h1_squared(field: jax.Array, grid: GridOperands) -> jax.Array:
    total = domain_mean(jnp.square(field), grid)
    for position, axis in enumerate(grid.axes):
        length = jnp.sum(axis.weights, axis=-1)
        if position == len(grid.axes) - 1:
            length = collectives.total(length, SPACE)
        slope = domain_mean(jnp.square(derivative(field, grid, position)), grid)
        total = total + slope * (length[..., None] if grid.batched else length) ** 2
    return total


def gaussian_nll(
    mean: jax.Array, variance: jax.Array, truth: jax.Array, grid: GridOperands, beta: float = 0.0
) -> jax.Array:
    """Negative logarithm of the normal density at each point, averaged: (batch, *space, channels) -> ().

    With `beta` each point counts by its variance to that power, held fixed: the gradient of the mean is then that of
    the squared error for 1 and of the likelihood for 0 (Seitzer, Tavakoli, Antic, Martius 2022, eq. 5).
    """
    pointwise = 0.5 * (jnp.log(2 * jnp.pi * variance) + jnp.square(truth - mean) / variance)
    if beta:
        pointwise = lax.stop_gradient(variance) ** beta * pointwise
    return batch_mean(domain_mean(pointwise, grid))
