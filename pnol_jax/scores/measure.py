"""Means over the domain by quadrature weights, in which padding has no part."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from pnol_jax import collectives
from pnol_jax.collectives import SPACE
from pnol_jax.errors import InputError
from pnol_jax.predictive import Predictive


def shares(field: jax.Array, weights: ArrayLike) -> jax.Array:
    """Each point's share of the domain, (batch or 1, *space, 1): zero on padding, and they sum to one.

    Args:
        field: (batch, *space, channels), for its shape.
        weights: (*space) or (batch, *space), at least zero.

    Raises:
        InputError: weights of another shape.
    """
    measure = jnp.asarray(weights, field.dtype)
    per_case, space = field.shape[:-1], field.shape[1:-1]
    if measure.shape not in (per_case, space):
        raise InputError(f"weights: got shape {measure.shape}, expected {space} or, per case, {per_case}")
    measure = measure.reshape(-1, *space, 1)
    whole = collectives.total(jnp.sum(measure, axis=tuple(range(1, field.ndim)), keepdims=True), SPACE)
    return measure / whole


def domain_mean(field: jax.Array, weights: ArrayLike) -> jax.Array:
    """The mean over the domain, (batch, *space, channels) -> (batch, channels); not a number where no weight is."""
    share = shares(field, weights)
    here = jnp.sum(jnp.where(share == 0, 0, share * field), axis=tuple(range(1, field.ndim - 1)))
    return collectives.total(here, SPACE)


def field_mean(field: jax.Array, weights: ArrayLike) -> jax.Array:
    """The mean over the domain and the channels, (batch, *space, channels) -> (batch,)."""
    return jnp.mean(domain_mean(field, weights), axis=-1)


def root(square: jax.Array) -> jax.Array:
    """The square root, any shape, whose gradient at zero is zero: training meets a field's distance to itself."""
    zero = square == 0
    return jnp.where(zero, 0, jnp.sqrt(jnp.where(zero, 1, square)))


def residual(predictive: Predictive, truth: jax.Array) -> jax.Array:
    """Truth minus mean, (batch, *space, channels).

    Raises:
        InputError: the truth is not of the mean's shape.
    """
    check_shape("truth", truth, predictive.mean)
    return truth - predictive.mean


def check_shape(what: str, got: jax.Array, expected: jax.Array) -> None:
    """Refuse two fields, (batch, *space, channels), that broadcasting would silently bring together."""
    if got.shape != expected.shape:
        raise InputError(f"{what}: got shape {got.shape}, expected {expected.shape}, (batch, *space, channels)")


def drawn(predictive: Predictive, truth: jax.Array, least: int) -> jax.Array:
    """The samples, (num_samples, batch, *space, channels).

    Raises:
        InputError: there are fewer than `least`, or the truth is not of their shape.
    """
    samples = predictive.samples
    if samples is None or samples.shape[0] < least:
        number = 0 if samples is None else samples.shape[0]
        raise InputError(f"predictive.samples: got {number}, expected at least {least}")
    check_shape("truth", truth, samples[0])
    return samples
