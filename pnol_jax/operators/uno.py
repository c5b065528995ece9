"""The U-shaped neural operator (Rahman, Ross, Azizzadenesheli 2023) on grids of its own between its ends.

Each level has half the modes of the one above and twice the channels. Only the ends see the data's grid: between two
levels a field passes as coefficients, so the inner levels live on uniform grids that depend on nothing but the modes.
"""

from collections.abc import Sequence
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from numpy.typing import NDArray

from pnol_jax import collectives
from pnol_jax.bases import Basis, GridOperands, make_operands
from pnol_jax.collectives import SPACE
from pnol_jax.errors import InputError
from pnol_jax.grids import Axis, Grid
from pnol_jax.operators import rematerialise, stochastic
from pnol_jax.operators.activations import gelu
from pnol_jax.operators.layers import ChannelMLP, Linear
from pnol_jax.operators.rematerialise import Remat
from pnol_jax.operators.spectral import SpectralConv
from pnol_jax.operators.stacked import Lifting, Stacked

LEAST_MODES = 2
MULTIPLE = 8  # of an inner grid's points, so that a mesh can divide them


class Down(nnx.Module):
    """v' = gelu(u + mlp(u)), u = gelu(K v), on the next coarser grid."""

    def __init__(self, width: int, bases: Sequence[Basis], expansion: float, *, rngs: nnx.Rngs) -> None:
        self.spectral = SpectralConv(width, 2 * width, bases, rngs=rngs)
        self.mlp = ChannelMLP(2 * width, round(2 * width * expansion), 2 * width, rngs=rngs)

    def __call__(self, rows: jax.Array, fine: GridOperands, coarse: GridOperands) -> jax.Array:
        """Rows (rows of fine, width) -> (rows of coarse, 2 width)."""
        inner = gelu(self.spectral(rows, fine, coarse))
        return gelu(inner + self.mlp(inner))


class Up(nnx.Module):
    """v' = gelu(u + mlp(u)), u = gelu(K v + W s), with s what this level had on the way down."""

    def __init__(self, width: int, bases: Sequence[Basis], expansion: float, *, rngs: nnx.Rngs) -> None:
        self.spectral = SpectralConv(2 * width, width, bases, rngs=rngs)
        self.skip = Linear(width, width, bias=False, rngs=rngs)
        self.mlp = ChannelMLP(width, round(width * expansion), width, rngs=rngs)

    def __call__(self, rows: jax.Array, coarse: GridOperands, fine: GridOperands, before: jax.Array) -> jax.Array:
        """Rows (rows of coarse, 2 width) and before (rows of fine, width) -> (rows of fine, width)."""
        inner = gelu(self.spectral(rows, coarse, fine) + self.skip(before))
        return gelu(inner + self.mlp(inner))


class UNO(Stacked):
    """Lifting, levels down and up again, projection."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        bases: Sequence[Basis],
        *,
        width: int = 32,
        levels: int = 3,
        expansion: float = 0.5,
        coordinates: bool = True,
        remat: Remat = "none",
        rngs: nnx.Rngs,
    ) -> None:
        self.bases = tuple(bases)
        self.remat = remat
        axes = len(self.bases) if coordinates else 0
        self.lifting = Lifting(inputs, 2 * width, width, axes, rngs=rngs)
        shared = [halved(self.bases, level) for level in range(levels)]  # what a level shares with the one below
        self.down = nnx.List(Down(width * 2**i, shared[i], expansion, rngs=rngs) for i in range(levels))
        self.up = nnx.List(Up(width * 2**i, shared[i], expansion, rngs=rngs) for i in range(levels))
        self.projection = ChannelMLP(width, 2 * width, outputs, divided="inputs", rngs=rngs)

    def mixed(self, rows: jax.Array, grid: GridOperands) -> jax.Array:
        """Down the levels and up again, rows (rows, width) -> the same."""
        finer, passed = (grid, self.bases), []
        for level, block in enumerate(self.down):
            bases = halved(self.bases, level)
            fine, coarse = narrowed(*finer, bases), inner_grid(bases)
            passed.append((rows, fine, coarse))
            rows = stochastic.drop_channels(rows, f"down.{level}", fine)
            rows = rematerialise.block(block, self.remat)(rows, fine, coarse)
            finer = coarse, bases
        for level, up in reversed(list(enumerate(self.up))):
            before, fine, coarse = passed[level]
            rows = stochastic.drop_channels(rows, f"up.{level}", coarse)
            rows = rematerialise.block(up, self.remat)(rows, coarse, fine, before)
        return rows


def halved(bases: Sequence[Basis], times: int) -> tuple[Basis, ...]:
    """The bases with half of the modes, so many times."""
    return tuple(replace(basis, modes=max(min(LEAST_MODES, basis.modes), basis.modes // 2**times)) for basis in bases)


def inner_grid(bases: tuple[Basis, ...]) -> GridOperands:
    """This device's part of a uniform grid with twice as many points as the bases need, for fields of length 1."""
    axes = []
    for basis in bases:
        points = MULTIPLE * -(-2 * basis.least_points // MULTIPLE)
        periodic = basis.kind == "fourier"
        axes.append(Axis.uniform(points) if periodic else Axis.uniform(points, "bounded", 1.0, "centre"))
    whole = make_operands(Grid(tuple(axes)), bases, None, "float64")
    if whole.shape[-1] % collectives.count(SPACE):
        raise InputError(
            f"mesh.space: got {collectives.count(SPACE)}, expected a divisor of {whole.shape[-1]}, the points of an "
            "inner grid of operator 'uno'"
        )
    last = whole.axes[-1]
    mine = [collectives.mine(jnp.asarray(leaf), SPACE, 0) for leaf in jax.tree.leaves(last)]
    return GridOperands((*whole.axes[:-1], jax.tree.unflatten(jax.tree.structure(last), mine)))


def narrowed(grid: GridOperands, bases: Sequence[Basis], fewer: Sequence[Basis]) -> GridOperands:
    """A grid's operands for bases with fewer modes: the columns of the functions that they share."""
    axes = []
    for axis, basis, less in zip(grid.axes, bases, fewer, strict=True):
        columns = _shared(basis, less)
        analysis, synthesis = (jnp.take(matrix, columns, axis=-1) for matrix in (axis.analysis, axis.synthesis))
        axes.append(replace(axis, analysis=analysis, synthesis=synthesis))
    return GridOperands(tuple(axes))


def _shared(basis: Basis, less: Basis) -> NDArray[np.intp]:
    """Which functions of a basis are those of the same with fewer modes: its first cosines and its first sines."""
    if basis.kind == "cosine":
        return np.arange(less.functions)
    cosines = less.modes // 2 + 1
    return np.concatenate([np.arange(cosines), basis.modes // 2 + 1 + np.arange(less.functions - cosines)])
