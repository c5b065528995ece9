"""Thinning: grid lines left out at random, so that an operator learns the function and not the grid.

On one training grid an operator can fit the quadrature errors of that grid as if they were physics; a finer grid then
surprises it. With some lines of every axis left out of each batch, others each time, the points and their weights keep
changing while the functions stay the same.
"""

from collections.abc import Sequence

import jax
import numpy as np

from pnol_jax.bases import Basis, GridOperands, make_operands, stack_operands
from pnol_jax.data.buckets import Shape
from pnol_jax.data.columns import Floats
from pnol_jax.data.fields import Indices
from pnol_jax.errors import InputError
from pnol_jax.grids import Axis, Grid


class Thinning:
    """Leaves out of every axis up to a share of its points, how many and which anew for each batch.

    Raises:
        InputError: a share outside [0, 1).
    """

    def __init__(self, share: float, bases: Sequence[Basis]) -> None:
        if not 0 <= share < 1:
            raise InputError(f"data.thinning: got {share:g}, expected a share from 0 to less than 1")
        self._share = share
        self._bases = tuple(bases)

    def check(self, grid: Grid) -> None:
        """Refuse a grid that would be left with fewer points than its modes need."""
        for position, (axis, basis) in enumerate(zip(grid.axes, self._bases, strict=True)):
            if axis.n - self._most(axis) < basis.least_points:
                raise InputError(
                    f"data.thinning: {self._share:g} leaves {axis.n - self._most(axis)} of {axis.n} points on axis "
                    f"{position}, where {basis.modes} modes ({basis.kind}) need at least {basis.least_points}"
                )

    def draw(self, grid: Grid, bits: int) -> tuple[Indices, ...]:
        """Which points of each axis stay, in order; the same for the same bits and numbers of points."""
        return tuple(self._keep(axis, np.random.default_rng([bits, i])) for i, axis in enumerate(grid.axes))

    def operands(self, grids: Sequence[Grid], bucket: Shape, batched: bool, dtype: str = "float32") -> GridOperands:
        """Operands of the thinned grids of a batch's cases, padded to the bucket: of each case, or shared by all."""
        distinct = list(dict.fromkeys(grids))
        made = [make_operands(grid, self._bases, bucket, dtype) for grid in distinct]
        if not batched:
            return made[0]
        chosen = np.array([distinct.index(grid) for grid in grids])
        taken: GridOperands = jax.tree.map(lambda leaf: leaf[chosen], stack_operands(made))
        return taken

    def _most(self, axis: Axis) -> int:
        return int(self._share * axis.n + 1e-9)

    def _keep(self, axis: Axis, generator: np.random.Generator) -> Indices:
        left_out = generator.integers(self._most(axis) + 1)
        kept: Indices = np.sort(generator.permutation(axis.n)[left_out:])
        return kept


def thin_grid(grid: Grid, keep: Sequence[Indices]) -> Grid:
    """The grid of the points that stay."""
    pairs = zip(grid.axes, keep, strict=True)
    return Grid(tuple(Axis(axis.kind, axis.length, tuple(axis.points[kept].tolist())) for axis, kept in pairs))


def thin(field: Floats, keep: Sequence[Indices]) -> Floats:
    """The values at the points that stay, (..., *space, channels)."""
    for position, kept in enumerate(keep):
        field = np.take(field, kept, axis=field.ndim - 1 - len(keep) + position)
    return field
