"""Transforms of a field that a mesh divides along its last axis, where the modes are divided along the first.

Every device mixes its own share of the modes and holds their kernels alone, so that neither work nor kernels nor the
kernels' gradients are repeated. On the way there the other axes are transformed where the field lies, which leaves few
coefficients. Then whichever moves less:

- points: each device trades its points of the last axis for its share of the first axis' coefficients, an all-to-all
  between slabs, and transforms the last axis whole;
- modes: each device transforms its own points of the last axis, and the sums over devices are scattered as shares.

A share of a signed axis is a stretch of pairs k, -k (`wavenumbers.signed`). On the way it stands as real columns: of
its pairs j all cos j, then all sin j; and one more, as pair 0 holds the wave numbers 0 and -modes/2: three functions.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from numpy.typing import NDArray

from pnol_jax import collectives
from pnol_jax.bases import AxisOperands, Basis, GridOperands
from pnol_jax.collectives import SPACE
from pnol_jax.operators.transforms import project_axis, synthesise_axis
from pnol_jax.operators.wavenumbers import Complex, by_turns, cosine_and_sine, half_axis, interleaved, plus_and_minus

PAIRS, MODES = "pairs", "modes"  # names of a kernel's first dimension, by what a share of it is a stretch of


def shared_dimension(bases: Sequence[Basis]) -> str | None:
    """What a kernel's first dimension may be divided by: pairs of wave numbers, or functions; None for neither."""
    first = bases[0]
    if len(bases) == 1 or half_axis(bases) == 0:
        return None
    if not first.paired:
        return MODES
    return None if first.modes % 2 else PAIRS


def analyse(field: jax.Array, grid: GridOperands, bases: Sequence[Basis]) -> jax.Array:
    """As `transforms.analyse`, of the first axis' functions this device's share alone, (*functions, batch, C)."""
    last, lead, grid = len(bases) - 1, int(grid.batched), _arranged(grid, bases)
    for position in range(last):
        field = project_axis(field, grid, position)
    if _by_points(grid):
        field = collectives.exchanged(field, SPACE, lead, lead + last)
        field = project_axis(field, _whole(grid), last)
    else:
        field = collectives.scattered(project_axis(field, grid, last), SPACE, lead)
    return jnp.moveaxis(field, 0, -2) if grid.batched else field


def synthesise(coefficients: jax.Array, grid: GridOperands, bases: Sequence[Basis]) -> jax.Array:
    """The inverse of `analyse`, on this device's points: unfolded, (*space, batch, C) or (batch, *space, C)."""
    last, lead, grid = len(bases) - 1, int(grid.batched), _arranged(grid, bases)
    field = jnp.moveaxis(coefficients, -2, 0) if grid.batched else coefficients
    if _by_points(grid):
        field = synthesise_axis(field, _whole(grid), last)
        field = collectives.exchanged(field, SPACE, lead + last, lead)
    else:
        field = synthesise_axis(collectives.gathered(field, SPACE, lead), grid, last)
    for position in reversed(range(last)):
        field = synthesise_axis(field, grid, position)
    return field


def signed(columns: Complex) -> Complex:
    """A share's columns along the first axis -> its wave numbers, in pairs."""
    (rc, rs, rx), (ic, is_, ix) = (_columns(part) for part in columns)
    plus, _ = plus_and_minus((rc, ic), (_first(rs, 0 * rs), _first(is_, 0 * is_)))
    _, minus = plus_and_minus((_first(rc, rs), _first(ic, is_)), (_first(rs, rx), _first(is_, ix)))
    return interleaved(plus[0], minus[0], 0), interleaved(plus[1], minus[1], 0)


def unsigned(modes: Complex) -> Complex:
    """The inverse of `signed`: a share's wave numbers -> its columns."""
    (rp, rm), (ip, im) = (by_turns(part, 0) for part in modes)
    cosine, sine = cosine_and_sine((rp, ip), (rm, im))
    extra = (0.5 * im[:1], -0.5 * rm[:1])

    def columns(c: jax.Array, s: jax.Array, plus: jax.Array, minus: jax.Array, more: jax.Array) -> jax.Array:
        rows = [_first(0.5 * c, plus), _first(0.5 * s, 0.5 * minus), of_first(more)]
        return jnp.concatenate(rows)

    return (
        columns(cosine[0], sine[0], rp, rm, extra[0]),
        columns(cosine[1], sine[1], ip, im, extra[1]),
    )


def of_first(value: jax.Array) -> jax.Array:
    """The value, of any shape, on the device that has the constant function, zero elsewhere."""
    return jnp.where(collectives.index(SPACE) == 0, value, jnp.zeros_like(value))


def _columns(part: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Cosines, sines, and the one column more."""
    pairs = part.shape[0] // 2
    return part[:pairs], part[pairs : 2 * pairs], part[2 * pairs :]


def _first(rows: jax.Array, others: jax.Array) -> jax.Array:
    """The rows, the first of them from `others` on the device that has pair 0."""
    begin = jnp.where(collectives.index(SPACE) == 0, others[:1], rows[:1])
    return lax.dynamic_update_slice_in_dim(rows, begin, 0, 0)


def _by_points(grid: GridOperands) -> bool:
    points, functions = grid.axes[-1].analysis.shape[-2:]
    return bool(points < functions)


def _arranged(grid: GridOperands, bases: Sequence[Basis]) -> GridOperands:
    """The grid with the first axis' functions in the order of their shares."""
    if not bases[0].paired:
        return grid
    order = column_order(bases[0], collectives.count(SPACE))
    return GridOperands((_with(grid.axes[0], lambda matrix: jnp.take(matrix, order, axis=-1)), *grid.axes[1:]))


def _whole(grid: GridOperands) -> GridOperands:
    """The grid with the last axis' matrices put together."""
    whole = _with(grid.axes[-1], lambda matrix: collectives.gathered(matrix, SPACE, -2))
    return GridOperands((*grid.axes[:-1], whole))


def _with(axis: AxisOperands, change: Callable[[jax.Array], jax.Array]) -> AxisOperands:
    analysis, synthesis = (change(jnp.asarray(matrix)) for matrix in (axis.analysis, axis.synthesis))
    return replace(axis, analysis=analysis, synthesis=synthesis)


def column_order(basis: Basis, parts: int) -> NDArray[np.intp]:
    """Which of a signed basis' functions stand where, (modes + parts,): share by share, as many in each."""
    highest = basis.modes // 2
    sine = highest + 1  # where sin 0 stands, a function that is zero
    order = np.empty((parts, basis.modes // parts + 1), np.intp)
    for part, pairs in enumerate(np.arange(highest).reshape(parts, -1)):
        order[part] = [*pairs, *(sine + pairs), sine]
    order[0, highest // parts], order[0, -1] = highest, sine + highest
    return order.ravel()
