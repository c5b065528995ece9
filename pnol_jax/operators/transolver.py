"""Attention over points by way of slices: the Transolver (Wu, Luo, Wang, Wang, Long 2024), as an integral operator.

Attention between all pairs of points costs the square of their number. Here every point belongs to each of a few slices
to some degree; a slice's token is the mean over the domain by that degree, tokens attend to one another, and a point
takes back what its slices have become. Means are integrals by the grid's quadrature weights, so that no answer depends
on resolution or padding, and a mesh that divides space adds up the tokens alone.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from pnol_jax import collectives
from pnol_jax.bases import Basis, GridOperands
from pnol_jax.collectives import MODEL, SPACE
from pnol_jax.errors import InputError
from pnol_jax.operators import draws
from pnol_jax.operators.layers import ChannelMLP, Linear, Norm
from pnol_jax.operators.rematerialise import Remat
from pnol_jax.operators.stacked import Lifting, Stacked

LEAST_SHARE = 1e-5  # of the domain, below which a slice counts as empty
COLDEST = 0.1


class PhysicsAttention(nnx.Module):
    """Slice, attend, give back (eq. 1 to 4), for each head by itself."""

    def __init__(self, width: int, heads: int, slices: int, *, rngs: nnx.Rngs) -> None:
        size = width // heads
        self.degree = Linear(width, width, rngs=rngs)
        self.value = Linear(width, width, rngs=rngs)
        self.out = Linear(width, width, rngs=rngs)
        # The maps within a head are the same for all heads, so a mesh that divides these leaves the maps whole.
        self.slice = nnx.Param(nnx.initializers.orthogonal()(rngs.params(), (size, slices)), axes=(None, None))
        self.temperature = nnx.Param(jnp.full(heads, 0.5), axes=("width",))
        draw = draws.uniform(rngs.params(), (3, size, size), size**-0.5)
        self.attend = nnx.Param(draw, axes=(None, None, None))
        self.size = size

    def __call__(self, rows: jax.Array, grid: GridOperands) -> jax.Array:
        """Rows (rows, width) -> the same."""
        degree = self._degrees(self._by_head(self.degree(rows), grid))
        share = self._shares(degree, grid)
        values = self._by_head(self.value(rows), grid)
        batch = "bphs,bphc" if grid.batched else "pbhs,pbhc"
        sums = jnp.einsum(f"{batch}->bhsc", share, values, preferred_element_type=degree.dtype)
        size = jnp.sum(share, axis=1 if grid.batched else 0)
        sums, size = collectives.total(sums, SPACE), collectives.total(size, SPACE)
        tokens = self._attended(sums / (size[..., None] + LEAST_SHARE))
        back = jnp.einsum("bphs,bhsc->bphc" if grid.batched else "pbhs,bhsc->pbhc", degree, tokens)
        return self.out(back.astype(rows.dtype).reshape(rows.shape))

    def _by_head(self, rows: jax.Array, grid: GridOperands) -> jax.Array:
        """Rows -> (points, batch, heads, channels of one), or (batch, points, ...) where operands are per case."""
        if rows.shape[-1] % self.size:
            raise InputError(
                f"mesh.model: got {collectives.count(MODEL)}, expected a divisor of operator.heads: a head is not cut"
            )
        lead = (-1, math.prod(grid.shape)) if grid.batched else (math.prod(grid.shape), -1)
        return rows.reshape(*lead, rows.shape[-1] // self.size, self.size)

    def _degrees(self, features: jax.Array) -> jax.Array:
        """To what degree a point belongs to each slice, (..., heads, slices), of sum one."""
        features = features.astype(jnp.promote_types(features.dtype, jnp.float32))
        temperature = jnp.maximum(self.temperature[...].astype(features.dtype), COLDEST)
        scores = features @ self.slice[...].astype(features.dtype)
        return jax.nn.softmax(scores / temperature[:, None], axis=-1)

    def _shares(self, degree: jax.Array, grid: GridOperands) -> jax.Array:
        """The same as shares of the domain."""
        weights = jnp.asarray(grid.weights(), degree.dtype)
        weights = weights.reshape(*degree.shape[:2]) if grid.batched else weights.reshape(-1, 1)
        whole = collectives.total(jnp.sum(weights, axis=1 if grid.batched else 0, keepdims=True), SPACE)
        return degree * (weights / whole)[..., None, None]

    def _attended(self, tokens: jax.Array) -> jax.Array:
        """Tokens (batch, heads, slices, channels) -> what they have become by attending to one another."""
        query, key, value = (tokens @ kernel for kernel in self.attend[...].astype(tokens.dtype))
        scores = query @ jnp.swapaxes(key, -1, -2) / self.size**0.5
        attended: jax.Array = jax.nn.softmax(scores, axis=-1) @ value
        return attended


class TransolverBlock(nnx.Module):
    """u = v + attention(norm(v));  v' = u + mlp(norm(u)), eq. 5."""

    def __init__(self, width: int, heads: int, slices: int, expansion: float, *, rngs: nnx.Rngs) -> None:
        self.norms = nnx.List([Norm("layer", width), Norm("layer", width)])
        self.attention = PhysicsAttention(width, heads, slices, rngs=rngs)
        self.mlp = ChannelMLP(width, round(width * expansion), width, rngs=rngs)

    def __call__(self, rows: jax.Array, grid: GridOperands) -> jax.Array:
        """Rows (rows, width) -> the same."""
        rows = rows + self.attention(self.norms[0](rows, grid), grid)
        return rows + self.mlp(self.norms[1](rows, grid))


class Transolver(Stacked):
    """Lifting, a stack of blocks, projection. Its bases serve losses and features; it has no modes of its own."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        bases: Sequence[Basis],
        *,
        width: int = 64,
        depth: int = 4,
        heads: int = 4,
        slices: int = 32,
        expansion: float = 1.0,
        coordinates: bool = True,
        remat: Remat = "none",
        rngs: nnx.Rngs,
    ) -> None:
        if width % heads:
            raise InputError(f"operator.width: got {width} with {heads} heads, expected a multiple of them")
        self.bases = tuple(bases)
        self.remat = remat
        self.lifting = Lifting(inputs, 2 * width, width, len(self.bases) if coordinates else 0, rngs=rngs)
        self.blocks = nnx.List(TransolverBlock(width, heads, slices, expansion, rngs=rngs) for _ in range(depth))
        self.projection = ChannelMLP(width, 2 * width, outputs, divided="inputs", rngs=rngs)
