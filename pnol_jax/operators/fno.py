"""The Fourier neural operator in one to three dimensions (Li et al. 2021), with today's blocks."""

from collections.abc import Sequence

import jax
from flax import nnx

from pnol_jax.bases import Basis, GridOperands
from pnol_jax.operators.activations import gelu
from pnol_jax.operators.layers import ChannelMLP, Norm, NormKind, Skip, SkipKind
from pnol_jax.operators.rematerialise import Remat
from pnol_jax.operators.spectral import SpectralConv
from pnol_jax.operators.stacked import Lifting, Stacked


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


class FNO(Stacked):
    """A stack of such blocks."""

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
