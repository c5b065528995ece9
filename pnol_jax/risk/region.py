"""Parts of the domain: boxes along the axes, the same on every grid."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from pnol_jax.bases import GridOperands
from pnol_jax.errors import InputError

Box = tuple[tuple[float, float], ...]  # [low, high) on each axis, as shares of its length; the whole domain if empty
ROUNDING = 1e-5  # of the length: which side of an end a point on it lies on does not hang on its last bit


def inside(grid: GridOperands, box: Box) -> jax.Array:
    """1 at the grid's points in a box, 0 elsewhere and on padding, (1 or batch, *space).

    Raises:
        InputError: not one interval for each axis.
    """
    if box and len(box) != len(grid.axes):
        raise InputError(f"risk.box: got {len(box)} intervals, expected {len(grid.axes)}, one per axis")
    ends: Sequence[tuple[float, float]] = box or ((0.0, 2.0),) * len(grid.axes)
    found = jnp.ones(1)
    for axis, (low, high) in zip(grid.axes, ends, strict=True):
        points, mask = jnp.asarray(axis.points), jnp.asarray(axis.mask)
        here = ((points >= low - ROUNDING) & (points < high - ROUNDING) & (mask > 0)).astype(points.dtype)
        found = found[..., None] * here.reshape(-1, *(1,) * (found.ndim - 1), here.shape[-1])
    return found
