"""Samples to modes and back: an axis at a time, as matrix products of unfolded fields (`layout.py`).

Every product is written as `matmul` of a small matrix with a field reshaped to (modes so far, points, rest), so that
its derivative is a product of the same form, and where cases share a grid no field is ever transposed. Modes of
16-bit fields are added up and kept in float32; samples have the field's own precision.
"""

import math

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from pnol_jax import collectives
from pnol_jax.bases import GridOperands
from pnol_jax.collectives import SPACE
from pnol_jax.operators.layout import enter, fold, leave, unfold


def _contract(matrix: jax.Array, field: jax.Array, position: int, batched: bool, into: DTypeLike) -> jax.Array:
    """Replace axis `position` (points) of a field by the rows of `matrix` (rows, points), or (batch, rows, points)."""
    matrix = matrix.astype(field.dtype)
    shape = field.shape
    lead = shape[: position + batched]
    rows, points = matrix.shape[-2:]
    rest = shape[position + batched + 1 :]
    if batched:
        before = math.prod(lead[1:])
        matrix = jnp.broadcast_to(matrix[:, None], (shape[0], before, rows, points))
        product = jnp.matmul(matrix, field.reshape(shape[0], before, points, -1), preferred_element_type=into)
    elif position == 0:
        product = jnp.matmul(matrix, field.reshape(points, -1), preferred_element_type=into)
    else:
        before = math.prod(lead)
        matrix = jnp.broadcast_to(matrix, (before, rows, points))
        product = jnp.matmul(matrix, field.reshape(before, points, -1), preferred_element_type=into)
    return product.reshape(*lead, rows, *rest)


def analyse_axis(field: jax.Array, grid: GridOperands, position: int) -> jax.Array:
    """Replace the points of one axis by the coefficients of its basis, (*space, batch, C) or (batch, *space, C).

    The last axis is the one that a mesh divides, so the coefficients along it are sums over its parts.
    """
    coefficients = project_axis(field, grid, position)
    return collectives.total(coefficients, SPACE) if position == len(grid.axes) - 1 else coefficients


def project_axis(field: jax.Array, grid: GridOperands, position: int) -> jax.Array:
    """What the points at hand contribute to the coefficients, (*space, batch, C) or (batch, *space, C)."""
    matrix = jnp.swapaxes(jnp.asarray(grid.axes[position].analysis), -1, -2)
    return _contract(matrix, field, position, grid.batched, mode_type(field.dtype))


def synthesise_axis(coefficients: jax.Array, grid: GridOperands, position: int) -> jax.Array:
    """Replace the coefficients of one axis by samples at its points, (*space, batch, C) or (batch, *space, C)."""
    matrix = jnp.asarray(grid.axes[position].synthesis)
    return _contract(matrix, coefficients, position, grid.batched, coefficients.dtype)


def mode_type(field: DTypeLike) -> DTypeLike:
    """The type of the modes of a field: its own, and float32 where that has 16 bits."""
    return jnp.promote_types(field, jnp.float32)


def analyse(field: jax.Array, grid: GridOperands) -> jax.Array:
    """Samples to coefficients of the product basis: (*space, batch, C) -> (*functions, batch, C), in either order.

    The result always has the batch next to the channels.
    """
    for position in range(len(grid.axes)):
        field = analyse_axis(field, grid, position)
    return jnp.moveaxis(field, 0, -2) if grid.batched else field


def project(field: jax.Array, grid: GridOperands) -> jax.Array:
    """A field (batch, *space, C) without what its basis cannot hold; not of a padded basis, which is a frame."""
    return leave(fold(synthesise(analyse(unfold(enter(field, grid), grid), grid), grid)), grid)


def synthesise(coefficients: jax.Array, grid: GridOperands) -> jax.Array:
    """The inverse of `analyse` on the span of the basis, from (*functions, batch, C); the last axis goes first."""
    field = jnp.moveaxis(coefficients, -2, 0) if grid.batched else coefficients
    for position in reversed(range(len(grid.axes))):
        field = synthesise_axis(field, grid, position)
    return field
