"""The factorised Fourier neural operator (Tran, Mathews, Xie, Ong 2023)."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from pnol_jax.bases import Basis, GridOperands
from pnol_jax.operators.layers import ChannelMLP
from pnol_jax.operators.rematerialise import Remat
from pnol_jax.operators.spectral import SpectralConv1D
from pnol_jax.operators.stacked import Lifting, Stacked


class FFNOBlock(nnx.Module):
    """v' = v + mlp(sum over axes of K_axis v), eq. 8: each K_axis transforms one axis and leaves the others alone."""

    def __init__(self, width: int, bases: Sequence[Basis], expansion: float, *, rngs: nnx.Rngs) -> None:
        self.spectral = nnx.List(
            SpectralConv1D(width, width, basis, position, rngs=rngs) for position, basis in enumerate(bases)
        )
        self.mlp = ChannelMLP(width, round(width * expansion), width, rngs=rngs)

    def __call__(self, rows: jax.Array, grid: GridOperands) -> jax.Array:
        """Rows (rows, width) -> the same."""
        transformed = [convolution(rows, grid) for convolution in self.spectral]
        return rows + self.mlp(functools.reduce(jnp.add, transformed))


class FFNO(Stacked):
    """Lifting, a stack of factorised blocks, projection. Parameters grow with the sum of the modes."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        bases: Sequence[Basis],
        *,
        width: int = 64,
        depth: int = 4,
        expansion: float = 2.0,
        coordinates: bool = True,
        remat: Remat = "none",
        rngs: nnx.Rngs,
    ) -> None:
        self.bases = tuple(bases)
        self.remat = remat
        axes = len(self.bases) if coordinates else 0
        self.lifting = Lifting(inputs, 2 * width, width, axes, rngs=rngs)
        self.blocks = nnx.List(FFNOBlock(width, bases, expansion, rngs=rngs) for _ in range(depth))
        self.projection = ChannelMLP(width, 2 * width, outputs, divided="inputs", rngs=rngs)
