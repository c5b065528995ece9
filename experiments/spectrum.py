"""How much of a field lives at which wave number: its mean square, shell by shell."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from pnol_jax import collectives
from pnol_jax.bases import Basis
from pnol_jax.calculus import along
from pnol_jax.collectives import SPACE
from pnol_jax.grids import Axis, Float64, Grid


@dataclass(frozen=True)
class Spectrum:
    """The power of fields by wave number, mean over cases.

    `waves` (shells,): cycles per unit of length; the first `complete` shells lie within what every axis resolves, those
    after them in the corners. `power` by name, (shells, channels), in the square of the field's unit; the shells of a
    field add up to its mean square over the domain.
    """

    waves: Float64
    complete: int
    power: Mapping[str, Float64]


def shells(grid: Grid) -> tuple[Float64, int]:
    """The wave numbers of a grid's shells (shells,), and how many shells are complete."""
    width, _, number = _shells(grid)
    resolved = min(_columns(axis)[1].max() for axis in grid.axes)
    return width * np.arange(number, dtype=np.float64), int(resolved / width + 1.5)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Shells:
    """What a compiled program needs to sort the power of fields on a grid into `number` shells.

    `columns`: of each axis the analysis onto functions of unit mean square, (n, K), zero on padding; `shell` of every
    product of them, (K * ...,).
    """

    columns: tuple[Any, ...]
    shell: Any
    number: int = field(metadata={"static": True})


def make_shells(grid: Grid, padded: tuple[int, ...]) -> Shells:
    """The shells of a grid whose fields are padded to `padded` points."""
    columns = []
    for axis, size in zip(grid.axes, padded, strict=True):
        analysis, _ = _columns(axis)
        columns.append(np.pad(analysis, ((0, size - axis.n), (0, 0))))
    _, shell, number = _shells(grid)
    return Shells(tuple(columns), shell, number)


def power(fields: jax.Array, shells: Shells) -> jax.Array:
    """The mean square by shell of wave numbers, (cases, *space, channels) -> (cases, shells, channels).

    A periodic axis is taken apart into its Fourier modes, a bounded one into cosines, by the grid's own quadrature; the
    power of the modes whose distance to the origin rounds to the shell's wave number is added.
    """
    coefficients = fields
    for position, columns in enumerate(shells.columns):
        coefficients = along(coefficients, jnp.asarray(columns, fields.dtype), position)
    square = jnp.square(collectives.total(coefficients, SPACE))
    rows = square.reshape(len(fields), -1, fields.shape[-1])
    by_shell = jax.ops.segment_sum(jnp.moveaxis(rows, 1, 0), shells.shell, shells.number)
    return jnp.moveaxis(by_shell, 0, 1)


@functools.lru_cache(maxsize=16)
def _columns(axis: Axis) -> tuple[Float64, Float64]:
    """Analysis onto functions of unit mean square, (n, K), and their wave numbers in cycles per length, (K,)."""
    if axis.kind == "bounded":
        return Basis("cosine", axis.n).analysis(axis), np.arange(axis.n) / (2 * axis.length)
    highest = (axis.n - 1) // 2
    waves = np.tile(np.arange(highest + 1), 2)
    scale = np.where(waves == 0, 1, np.sqrt(2))
    return Basis("fourier", max(1, 2 * highest)).analysis(axis) * scale, waves / axis.length


def _shells(grid: Grid) -> tuple[float, NDArray[np.intp], int]:
    """The width of a shell, the shell of every mode (flattened), and the number of shells."""
    width = max(1 / (axis.length * (2 if axis.kind == "bounded" else 1)) for axis in grid.axes)
    squares = [np.square(_columns(axis)[1]) for axis in grid.axes]
    radius = np.sqrt(functools.reduce(np.add.outer, squares)).ravel()
    shell = np.rint(radius / width).astype(np.intp)
    return width, shell, int(shell.max()) + 1
