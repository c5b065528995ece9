"""How a field lies in memory inside an operator: as rows, (points and cases, channels).

At every boundary a field is (batch, *space, channels). Inside it is rows, one a point of a case, in the order of

- (*space, batch) where all cases share one grid: a transform along the first axis is then one plain matrix product
  with a long contiguous right side;
- (batch, *space) where each case has operands of its own: a transform is a matrix product per case.

Pointwise layers act on rows and see neither; what acts over space unfolds them, which moves nothing. That rows are
what passes between layers matters for speed: where a layer's output goes into a reshape instead, XLA computes it once
for every shape that it is read in (docs/design/devices.md, "Speed on a CPU").
"""

import jax
import jax.numpy as jnp

from pnol_jax.bases import GridOperands


def enter(field: jax.Array, grid: GridOperands) -> jax.Array:
    """From (batch, *space, channels) to rows."""
    return fold(field if grid.batched else jnp.moveaxis(field, 0, -2))


def leave(rows: jax.Array, grid: GridOperands) -> jax.Array:
    """From rows to (batch, *space, channels)."""
    field = unfold(rows, grid)
    return field if grid.batched else jnp.moveaxis(field, -2, 0)


def fold(field: jax.Array) -> jax.Array:
    """(*space, batch, channels) or (batch, *space, channels) -> rows."""
    return field.reshape(-1, field.shape[-1])


def unfold(rows: jax.Array, grid: GridOperands) -> jax.Array:
    """Rows -> (*space, batch, channels), or (batch, *space, channels) where operands are per case."""
    shape = (-1, *grid.shape) if grid.batched else (*grid.shape, -1)
    return rows.reshape(*shape, rows.shape[-1])


def over_cases(values: jax.Array, grid: GridOperands) -> jax.Array:
    """Give values on the grid, (*space) or (batch, *space), the axes to combine with an unfolded field."""
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
