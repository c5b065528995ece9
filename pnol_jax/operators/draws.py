"""Random weights: in float64 the numbers of float32, to its rounding, so that both start alike.

What is drawn are 23 bits, exact in either. Only then is it computed with, so that in float64 no compiler's way
of rounding can show, and a mesh starts where one device does.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

LOWEST = float(np.nextafter(np.float32(-1), np.float32(0)))  # where `jax.random.normal` begins in float32


def uniform(key: jax.Array, shape: tuple[int, ...], bound: float) -> jax.Array:
    """Draws between -bound and bound, of any shape that is asked for; the key ()."""
    if not jax.config.read("jax_enable_x64"):  # type: ignore[no-untyped-call]
        return jax.random.uniform(key, shape, jnp.float32, minval=-bound, maxval=bound)
    return bound * (2 * _shares(key, shape) - 1)


def normal(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Standard normal draws, of any shape that is asked for; the key ()."""
    if not jax.config.read("jax_enable_x64"):  # type: ignore[no-untyped-call]
        return jax.random.normal(key, shape, jnp.float32)
    inverse: jax.Array = lax.erf_inv((1 - LOWEST) * _shares(key, shape) + LOWEST)
    return 2**0.5 * inverse


def _shares(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    return jax.random.uniform(key, shape, jnp.float32).astype(jnp.float64)
