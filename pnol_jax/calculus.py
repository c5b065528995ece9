"""Integrals and derivatives of a field by the operands of its grid."""

import jax
import jax.numpy as jnp

from pnol_jax import collectives
from pnol_jax.bases import GridOperands
from pnol_jax.collectives import SPACE


def integral(field: jax.Array, grid: GridOperands) -> jax.Array:
    """The integral over the domain: (batch, *space, channels) -> (batch, channels). Padding does not count."""
    weights = jnp.asarray(grid.weights())
    kept = jnp.where(weights[..., None] != 0, field, 0)
    axes = tuple(range(1, field.ndim - 1))
    return collectives.total(jnp.sum(kept * weights[..., None], axis=axes), SPACE)


def along(field: jax.Array, matrix: jax.Array, axis: int) -> jax.Array:
    """Contract space axis `axis` of (batch, *space, channels) with a matrix (n, m), or (batch, n, m) per case."""
    moved = jnp.moveaxis(field, axis + 1, -1)
    if matrix.ndim == 3:
        matrix = matrix.reshape(matrix.shape[0], *(1,) * (field.ndim - 3), *matrix.shape[1:])
    return jnp.moveaxis(moved @ matrix, -1, axis + 1)


def derivative(field: jax.Array, grid: GridOperands, axis: int) -> jax.Array:
    """The partial derivative along `axis` of a field's projection onto the axis' basis, (batch, *space, channels) both.

    Exact for a field in the span of the basis; in the field's units per unit of length.
    """
    operands = grid.axes[axis]
    coefficients = along(field, jnp.asarray(operands.analysis), axis)
    if axis == len(grid.axes) - 1:
        coefficients = collectives.total(coefficients, SPACE)
    return along(coefficients, jnp.swapaxes(jnp.asarray(operands.derivative), -1, -2), axis)
