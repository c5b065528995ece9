"""How a field lies in memory inside an operator.

At every boundary a field is (batch, *space, channels). Inside it is

- (*space, batch, channels) where all cases share one grid: a transform along the first axis is then one plain matrix
  product with a long contiguous right side;
- (batch, *space, channels) where each case has operands of its own: a transform is a matrix product per case.

Pointwise layers act on the last axis and see neither.
"""

import jax
import jax.numpy as jnp

from pnol_jax.bases import GridOperands


def enter(field: jax.Array, grid: GridOperands) -> jax.Array:
    """From (batch, *space, channels) to the inner layout."""
    return field if grid.batched else jnp.moveaxis(field, 0, -2)


def leave(field: jax.Array, grid: GridOperands) -> jax.Array:
    """From the inner layout to (batch, *space, channels)."""
    return field if grid.batched else jnp.moveaxis(field, -2, 0)


def over_cases(values: jax.Array, grid: GridOperands) -> jax.Array:
    """Give values on the grid, (*space) or (batch, *space), the axes to combine with a field in the inner layout."""
    return values[..., None] if grid.batched else values[..., None, None]


def coordinates(grid: GridOperands) -> jax.Array:
    """The points as fractions of the axes' lengths, (*space, axes) or (batch, *space, axes)."""
    lead = (slice(None),) if grid.batched else ()
    columns = []
    for position, axis in enumerate(grid.axes):
        index = [None] * len(grid.axes)
        points = axis.points[(*lead, *index[:position], slice(None), *index[position + 1 :])]
        columns.append(jnp.broadcast_to(points, (*axis.points.shape[:-1], *grid.shape)))
    return jnp.stack(columns, axis=-1)
