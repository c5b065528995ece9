"""Exceedance and tail means of a normal quantity, in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtr, ndtri


def exceedance(mean: jax.Array, variance: jax.Array, threshold: float) -> jax.Array:
    """P(X > threshold), X normal, of the shape of the mean; 0 or 1 where the variance is zero."""
    std = jnp.sqrt(variance)
    return ndtr((mean - threshold) / jnp.maximum(std, np.finfo(std.dtype).tiny))


def tail_mean(mean: jax.Array, variance: jax.Array, level: float) -> jax.Array:
    """The conditional value at risk: the mean of X over its largest share 1 - level, X normal.

    mean + std phi(z) / (1 - level), z the quantile of the level. Source: Rockafellar, Uryasev 2000, Optimization of
    conditional value-at-risk.
    """
    z = ndtri(jnp.asarray(level, mean.dtype))
    density = jnp.exp(-0.5 * jnp.square(z)) / jnp.sqrt(2 * jnp.pi)
    return mean + jnp.sqrt(variance) * density / (1 - level)
