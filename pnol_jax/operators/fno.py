"""The Fourier neural operator in one to three dimensions (Li et al. 2021), with today's blocks."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from pnol_jax.bases import Basis, GridOperands
from pnol_jax.operators import draws, rematerialise, stochastic
from pnol_jax.operators.activations import gelu
from pnol_jax.operators.layers import ChannelMLP, Linear, Norm, NormKind, Skip, SkipKind
from pnol_jax.operators.layout import coordinates, enter, fold, leave, unfold
from pnol_jax.operators.rematerialise import Remat
from pnol_jax.operators.spectral import SpectralConv


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


class FNOBlock(nnx.Module):
    """Spectral convolution and skip, GELU, channel MLP and skip, GELU; none after the last block.

    u = gelu(norm(K v) + skip v);  v' = gelu(norm(mlp u + mlp_skip v)), as in neuraloperator 2.0's block.
    """

    def __init__(
        self,
        width: int,
        bases: Sequence[Basis],
        expansion: float,
        skip: SkipKind,
        mlp_skip: SkipKind,
        norm: NormKind,
        *,
        last: bool,
        rngs: nnx.Rngs,
    ) -> None:
        self.spectral = SpectralConv(width, width, bases, rngs=rngs)
        self.skip = Skip(skip, width, rngs=rngs)
        self.mlp = ChannelMLP(width, round(width * expansion), width, rngs=rngs)
        self.mlp_skip = Skip(mlp_skip, width, rngs=rngs)
        self.norms = nnx.List([Norm(norm, width), Norm(norm, width)])
        self.last = last

    def __call__(self, rows: jax.Array, grid: GridOperands) -> jax.Array:
        """Rows (rows, width) -> the same."""
        inner = self.norms[0](self.spectral(rows, grid), grid) + self.skip(rows)
        if not self.last:
            inner = gelu(inner)
        outer = self.norms[1](self.mlp(inner) + self.mlp_skip(rows), grid)
        return outer if self.last else gelu(outer)


class FNO(nnx.Module):
    """Lifting, a stack of blocks, projection."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        bases: Sequence[Basis],
        *,
        width: int = 32,
        depth: int = 4,
        expansion: float = 0.5,
        lifting_ratio: float = 2.0,
        projection_ratio: float = 2.0,
        skip: SkipKind = "linear",
        mlp_skip: SkipKind = "soft_gating",
        norm: NormKind = "none",
        coordinates: bool = True,
        remat: Remat = "none",
        rngs: nnx.Rngs,
    ) -> None:
        self.bases = tuple(bases)
        self.remat = remat
        axes = len(self.bases) if coordinates else 0
        self.lifting = Lifting(inputs, round(lifting_ratio * width), width, axes, rngs=rngs)
        self.blocks = nnx.List(
            FNOBlock(width, bases, expansion, skip, mlp_skip, norm, last=i == depth - 1, rngs=rngs)
            for i in range(depth)
        )
        self.projection = ChannelMLP(width, round(projection_ratio * width), outputs, divided="inputs", rngs=rngs)

    @property
    def last_layer(self) -> tuple[str, ...]:
        """The parameters in which the outputs are linear."""
        return "projection.second.kernel", "projection.second.bias"

    def __call__(self, inputs: jax.Array, grid: GridOperands) -> jax.Array:
        """(batch, *space, in) -> (batch, *space, out)."""
        rows = rematerialise.end(self.lifting, self.remat)(enter(inputs, grid), grid)
        for number, block in enumerate(self.blocks):
            rows = stochastic.drop_channels(rows, f"blocks.{number}", grid)
            rows = rematerialise.block(block, self.remat)(rows, grid)
        rows = stochastic.drop_channels(rows, "projection", grid)
        return leave(rematerialise.end(self.projection, self.remat)(rows, grid), grid)
