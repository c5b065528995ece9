"""Symmetries of a problem as augmentation: maps that take a case to another case of the same problem.

Each moves points onto points and, some, turns signs; inputs and outputs go the same way, all times of a trajectory
too. Channels are treated as scalars. With x reflected in the middle of an axis as L - x:

- "shift": f(x) -> f(x + h), h a whole number of points on every periodic axis;
- "flip": f(x) -> f(L - x), on each axis by itself;
- "square": the eight symmetries of the square, f(x, y) -> f(y, x) and reflections;
- "sign": (a, u) -> (-a, -u);
- "odd": f(x) -> -f(L - x), all axes at once (Burgers' equation: x -> -x, u -> -u).

Which element a case gets follows from 64 random bits of its own.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from pnol_jax.data.bits import Bits, again
from pnol_jax.data.columns import Floats
from pnol_jax.data.fields import Indices
from pnol_jax.errors import InputError
from pnol_jax.grids import Axis, Grid

SLACK = 1e-6


class Elements(NamedTuple):
    """An element for each case: where each point's value comes from, (cases, points), and a sign, (cases,)."""

    sources: Indices | None
    signs: Floats | None


Draw = Callable[[Bits], Elements]


def _reflection(axis: Axis, where: str) -> Indices:
    """The point that L - x is, for each point x of an axis."""
    x = axis.points
    target = axis.length - x
    distance = np.abs(target[:, None] - x)
    if axis.kind == "periodic":
        distance = np.minimum(distance, axis.length - distance)
    nearest: Indices = distance.argmin(axis=1)
    worst = int(distance.min(axis=1).argmax())
    if distance[worst, nearest[worst]] > SLACK * axis.length:
        raise InputError(
            f"{where}: a reflection takes the point {x[worst]:g} to {target[worst]:g}, which is not a point of the "
            f"grid ([{x[0]:g} ... {x[-1]:g}] of length {axis.length:g}); leave points out with data.select, or the "
            "symmetry with them"
        )
    return nearest


def _flat(grid: Grid, parts: Sequence[Indices], order: Sequence[int] | None = None) -> Indices:
    """The flat source of each point from the source along each axis, the axes taken in the given order."""
    numbers = np.arange(int(np.prod(grid.shape))).reshape(grid.shape)[np.ix_(*parts)]
    return (numbers if order is None else numbers.transpose(order)).ravel()


def _choose(table: Indices) -> Draw:
    return lambda bits: Elements(table[(bits % np.uint64(len(table))).astype(np.intp)], None)


def _shift(grid: Grid, where: str) -> Draw:
    for axis in grid.axes:
        gaps = np.diff(axis.points, append=axis.points[0] + axis.length)
        if axis.kind == "periodic" and np.ptp(gaps) > SLACK * axis.length:
            raise InputError(f"{where}: 'shift' needs uniform points, got gaps of {gaps.min():g} to {gaps.max():g}")
    if all(axis.kind != "periodic" for axis in grid.axes):
        raise InputError(f"{where}: 'shift' needs a periodic axis, all {grid.ndim} are bounded")

    def draw(bits: Bits) -> Elements:
        sources = np.zeros((bits.size, *grid.shape), np.intp)
        for position, axis in enumerate(grid.axes):
            along = np.broadcast_to(np.arange(axis.n), (bits.size, axis.n))
            if axis.kind == "periodic":
                offset = (again(bits, position) % np.uint64(axis.n)).astype(np.intp)
                along = (along + offset[:, None]) % axis.n
            stride = int(np.prod(grid.shape[position + 1 :]))
            shape = [bits.size, *(axis.n if other == position else 1 for other in range(grid.ndim))]
            sources += stride * along.reshape(shape)
        return Elements(sources.reshape(bits.size, -1), None)

    return draw


def _flip(grid: Grid, where: str) -> Draw:
    ways = [(np.arange(axis.n), _reflection(axis, where)) for axis in grid.axes]
    return _choose(np.stack([_flat(grid, parts) for parts in itertools.product(*ways)]))


def _square(grid: Grid, where: str) -> Draw:
    if grid.ndim != 2 or grid.axes[0] != grid.axes[1]:
        raise InputError(f"{where}: 'square' needs two equal axes, got {grid.ndim} with {grid.shape} points")
    ways = [(np.arange(axis.n), _reflection(axis, where)) for axis in grid.axes]
    orders = ((0, 1), (1, 0))
    return _choose(np.stack([_flat(grid, parts, order) for parts in itertools.product(*ways) for order in orders]))


def _signs(bits: Bits) -> Floats:
    return np.where(bits & np.uint64(1), np.float32(-1), np.float32(1))


def _sign(grid: Grid, where: str) -> Draw:
    return lambda bits: Elements(None, _signs(bits))


def _odd(grid: Grid, where: str) -> Draw:
    turned = _flat(grid, [_reflection(axis, where) for axis in grid.axes])
    table = np.stack([np.arange(turned.size), turned])
    return lambda bits: Elements(table[(bits & np.uint64(1)).astype(np.intp)], _signs(bits))


SYMMETRIES: dict[str, Callable[[Grid, str], Draw]] = {
    "shift": _shift,
    "flip": _flip,
    "square": _square,
    "sign": _sign,
    "odd": _odd,
}
