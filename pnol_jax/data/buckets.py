"""Which cases may stand in one batch: those whose grids are padded to the same bucket."""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import numpy as np

from pnol_jax.bases import Basis, GridOperands, make_operands, stack_operands
from pnol_jax.data.cases import CaseSet
from pnol_jax.data.fields import Indices
from pnol_jax.errors import InputError
from pnol_jax.grids import Grid

Shape = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Bucket:
    """Groups of cases that are padded to `shape` points.

    `operands` are those of the one grid that all groups share, or of several grids, stacked; `grid_of` is then a
    group's place among them.
    """

    shape: Shape
    groups: tuple[int, ...]
    operands: GridOperands
    grid_of: Indices

    def operands_for(self, groups: Indices) -> GridOperands:
        """Operands for cases of the given groups (places in `self.groups`): shared, or one for each case."""
        if not self.operands.batched:
            return self.operands
        chosen = self.grid_of[groups]
        taken: GridOperands = jax.tree.map(lambda leaf: leaf[chosen], self.operands)
        return taken


def make_buckets(
    cases: CaseSet, bases: tuple[Basis, ...], shapes: Sequence[Sequence[int]] | None = None, parts: int = 1
) -> tuple[Bucket, ...]:
    """Sort a set's groups into buckets: each grid into the smallest that holds it, or its own size if none are given.

    A mesh divides the last axis into `parts`, so buckets are padded along it to a multiple of them; which groups share
    a bucket does not depend on it.

    Raises:
        InputError: a grid that no bucket holds, or with too few points for the bases.
    """
    grids = [group.grid for group in cases.groups]
    homes = [_home(grid, [tuple(shape) for shape in shapes or ()]) for grid in grids]
    return tuple(_bucket(shape, homes, cases, bases, parts) for shape in dict.fromkeys(homes))


def _home(grid: Grid, shapes: list[Shape]) -> Shape:
    if not shapes:
        return grid.shape
    for position, shape in enumerate(shapes):
        if len(shape) != grid.ndim:
            raise InputError(f"data.buckets[{position}]: got {list(shape)}, expected {grid.ndim} numbers of points")
    holding = [shape for shape in shapes if all(n <= size for n, size in zip(grid.shape, shape, strict=True))]
    if not holding:
        raise InputError(f"data.buckets: a grid of {grid.shape} points fits none of {shapes}")
    return min(holding, key=lambda shape: int(np.prod(shape)))


def _bucket(shape: Shape, homes: list[Shape], cases: CaseSet, bases: tuple[Basis, ...], parts: int) -> Bucket:
    padded = (*shape[:-1], -(-shape[-1] // parts) * parts)
    members = tuple(group for group, home in enumerate(homes) if home == shape)
    grids = [cases.groups[group].grid for group in members]
    distinct = list(dict.fromkeys(grids))
    operands = [make_operands(grid, bases, padded, cases.dtype) for grid in distinct]
    grid_of = np.array([distinct.index(grid) for grid in grids])
    return Bucket(padded, members, operands[0] if len(operands) == 1 else stack_operands(operands), grid_of)
