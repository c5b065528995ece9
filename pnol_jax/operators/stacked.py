"""What most operators are: a lifting at each point, a stack of blocks, a projection at each point."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from pnol_jax.bases import Basis, GridOperands
from pnol_jax.operators import draws, rematerialise, stochastic
from pnol_jax.operators.activations import gelu
from pnol_jax.operators.layers import ChannelMLP, Linear
from pnol_jax.operators.layout import coordinates, enter, fold, leave, unfold
from pnol_jax.operators.rematerialise import Remat


class Lifting(nnx.Module):
    """From input channels, and coordinates if asked for, to the operator's width, at each point.

    The coordinates' share is computed once for the grid, not for every case. The inputs are never divided by channel;
    a device makes its own hidden channels of them.
    """

    def __init__(self, inputs: int, hidden: int, width: int, axes: int, *, rngs: nnx.Rngs) -> None:
        bound = (inputs + axes) ** -0.5
        draw = draws.uniform(rngs.params(), (inputs + axes, hidden), bound)
        self.kernel = nnx.Param(draw, axes=(None, "width"))
        draw = draws.uniform(rngs.params(), (hidden,), bound)
        self.bias = nnx.Param(draw, axes=("width",))
        self.second = Linear(hidden, width, rngs=rngs)
        self.inputs = inputs
        self.axes = axes

    def __call__(self, rows: jax.Array, grid: GridOperands) -> jax.Array:
        """Rows (rows, in) -> (rows, width)."""
        kernel = self.kernel[...].astype(rows.dtype)
        hidden = jnp.matmul(rows, kernel[: self.inputs]) + self.bias[...].astype(rows.dtype)
        if self.axes:
            points = coordinates(grid).astype(rows.dtype)
            here = jnp.matmul(points, kernel[self.inputs :])
            hidden = fold(unfold(hidden, grid) + (here if grid.batched else here[..., None, :]))
        return self.second(gelu(hidden))


class Stacked(nnx.Module):
    """Who extends it gives `lifting`, `projection`, and `blocks` from rows (rows, width) to the same, or `mixed`."""

    bases: tuple[Basis, ...]
    remat: Remat
    lifting: Lifting
    blocks: nnx.List[Any]
    projection: ChannelMLP

    @property
    def last_layer(self) -> tuple[str, ...]:
        """The parameters in which the outputs are linear."""
        return "projection.second.kernel", "projection.second.bias"

    def __call__(self, inputs: jax.Array, grid: GridOperands) -> jax.Array:
        """(batch, *space, in) -> (batch, *space, out)."""
        rows = rematerialise.end(self.lifting, self.remat)(enter(inputs, grid), grid)
        rows = self.mixed(rows, grid)
        rows = stochastic.drop_channels(rows, "projection", grid)
        return leave(rematerialise.end(self.projection, self.remat)(rows, grid), grid)

    def mixed(self, rows: jax.Array, grid: GridOperands) -> jax.Array:
        """What the blocks make of rows (rows, width)."""
        for number, block in enumerate(self.blocks):
            rows = stochastic.drop_channels(rows, f"blocks.{number}", grid)
            rows = rematerialise.block(block, self.remat)(rows, grid)
        return rows
