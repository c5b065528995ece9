"""The domain in coarse cells, equal stretches of every axis, which are the same on every grid."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from pnol_jax import collectives
from pnol_jax.bases import GridOperands
from pnol_jax.calculus import along
from pnol_jax.collectives import SPACE
from pnol_jax.errors import InputError
from pnol_jax.scores.measure import check_shape

ROUNDING = 1e-5  # of a cell: a point on the edge of two lies in the second, whatever its last bit


def memberships(grid: GridOperands, cells: Sequence[int]) -> tuple[jax.Array, ...]:
    """Of each axis, which points lie in which of its cells: 1 or 0, (n, c) or (batch, n, c); 0 on padding.

    Raises:
        InputError: not one positive number of cells for each axis.
    """
    if len(cells) != len(grid.axes) or min(cells) < 1:
        raise InputError(f"cells: got {list(cells)}, expected {len(grid.axes)} positive numbers, one per axis")
    return tuple(_membership(axis.points, axis.mask, number) for axis, number in zip(grid.axes, cells, strict=True))


def _membership(points: jax.Array, mask: jax.Array, number: int) -> jax.Array:
    cell = jnp.clip(jnp.floor(jnp.asarray(points) * number + ROUNDING), 0, number - 1)
    one = cell[..., None] == jnp.arange(number)
    return jnp.where(jnp.asarray(mask)[..., None] > 0, one, 0).astype(jnp.asarray(points).dtype)


def cell_measures(grid: GridOperands, cells: Sequence[int]) -> jax.Array:
    """The quadrature weight of each cell, (1 or batch, *cells, 1); zero where a coarse grid has no point in it."""
    weights = jnp.asarray(grid.weights())
    return cell_integrals(jnp.ones((*weights.shape, 1), weights.dtype).reshape(-1, *grid.shape, 1), grid, cells)


def cell_integrals(field: jax.Array, grid: GridOperands, cells: Sequence[int]) -> jax.Array:
    """The integral over each cell, (batch, *space, channels) -> (batch, *cells, channels)."""
    weights = jnp.asarray(grid.weights(), field.dtype)[..., None]
    sums = jnp.where(weights == 0, 0, weights * field)
    for position, inside in enumerate(memberships(grid, cells)):
        sums = along(sums, inside.astype(field.dtype), position)
    return collectives.total(sums, SPACE)


def cell_means(field: jax.Array, grid: GridOperands, cells: Sequence[int]) -> jax.Array:
    """The mean over each cell, (batch, *space, channels) -> (batch, *cells, channels); no number without points."""
    return cell_integrals(field, grid, cells) / cell_measures(grid, cells).astype(field.dtype)


def regional_coverage(
    interval: tuple[jax.Array, jax.Array], truth: jax.Array, grid: GridOperands, cells: Sequence[int]
) -> jax.Array:
    """The share of each cell where the truth is inside, (batch, *cells, channels): the level is right everywhere."""
    lower, upper = interval
    check_shape("truth", truth, lower)
    return cell_means(((lower <= truth) & (truth <= upper)).astype(truth.dtype), grid, cells)


def spread_out(values: jax.Array, grid: GridOperands) -> jax.Array:
    """The field that has the value of its cell at each point, (*cells, channels) -> (1 or batch, *space, channels)."""
    field = values[None]
    if grid.batched:
        field = jnp.broadcast_to(field, (grid.axes[0].points.shape[0], *values.shape))
    for position, inside in enumerate(memberships(grid, values.shape[:-1])):
        field = along(field, jnp.swapaxes(inside, -1, -2).astype(values.dtype), position)
    return field
