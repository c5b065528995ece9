"""DeepONet (Lu et al. 2021) whose branch reads basis coefficients, so that it does not depend on the grid either."""

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from pnol_jax.bases import Basis, GridOperands
from pnol_jax.operators import rematerialise, stochastic
from pnol_jax.operators.activations import gelu
from pnol_jax.operators.layers import Linear
from pnol_jax.operators.layout import coordinates, enter, unfold
from pnol_jax.operators.rematerialise import Remat
from pnol_jax.operators.transforms import analyse


class MLP(nnx.Module):
    """A stack of linear maps with a GELU after each but the last."""

    def __init__(self, sizes: Sequence[int], *, rngs: nnx.Rngs) -> None:
        self.layers = nnx.List(Linear(a, b, divided="neither", rngs=rngs) for a, b in itertools.pairwise(sizes))

    def __call__(self, values: jax.Array, dropped: str = "") -> jax.Array:
        """(..., sizes[0]) -> (..., sizes[-1]); of (batch, ...), channels may be dropped under the name `dropped`."""
        *inner, last = self.layers
        for number, layer in enumerate(inner):
            values = gelu(layer(values))
            values = stochastic.drop_features(values, f"{dropped}.{number}") if dropped else values
        result: jax.Array = last(values)
        return result


class DeepONet(nnx.Module):
    """u(x) = sum_p branch_p(coefficients of a) trunk_p(x) + bias, for every output channel.

    The trunk sees the coordinates of a bounded axis and the angle's cosine and sine on a periodic one. Its channels are
    few next to its points, so a mesh does not divide them.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        bases: Sequence[Basis],
        *,
        width: int = 128,
        depth: int = 4,
        features: int = 128,
        remat: Remat = "none",
        rngs: nnx.Rngs,
    ) -> None:
        self.bases = tuple(bases)
        read = math.prod(basis.functions for basis in bases) * inputs
        seen = sum(2 if basis.kind == "fourier" else 1 for basis in bases)
        hidden = [width] * (depth - 1)
        self.branch = MLP([read, *hidden, features * outputs], rngs=rngs)
        self.trunk = MLP([seen, *hidden, features], rngs=rngs)
        self.bias = nnx.Param(jnp.zeros(outputs), axes=(None,))
        self.features = features
        self.remat = remat

    @property
    def last_layer(self) -> tuple[str, ...]:
        """The parameters in which the outputs are linear: the branch's last map, and the bias."""
        last = f"branch.layers.{len(self.branch.layers) - 1}"
        return f"{last}.kernel", f"{last}.bias", "bias"

    def __call__(self, inputs: jax.Array, grid: GridOperands) -> jax.Array:
        """(batch, *space, in) -> (batch, *space, out)."""
        modes = analyse(unfold(enter(inputs, grid), grid), grid)
        modes = stochastic.drop_modes(modes, "branch", self.bases, divided=False)
        read = jnp.moveaxis(modes, -2, 0).reshape(inputs.shape[0], -1).astype(inputs.dtype)
        read_by = functools.partial(self.branch, dropped="branch")
        branch = rematerialise.block(read_by, self.remat)(read).reshape(inputs.shape[0], self.features, -1)
        branch = stochastic.drop_features(branch, "features")
        trunk = rematerialise.block(self.trunk, self.remat)(self._seen(grid, inputs.dtype))
        pattern = "b...p,bpc->b...c" if grid.batched else "...p,bpc->b...c"
        scaled = jnp.einsum(pattern, trunk, branch) / self.features**0.5
        shifted: jax.Array = scaled + self.bias[...].astype(inputs.dtype)
        return shifted

    def _seen(self, grid: GridOperands, dtype: Any) -> jax.Array:
        points = coordinates(grid).astype(dtype)
        columns = []
        for position, basis in enumerate(self.bases):
            x = points[..., position]
            angle = 2 * jnp.pi * x
            columns.extend([jnp.cos(angle), jnp.sin(angle)] if basis.kind == "fourier" else [2 * x - 1])
        return jnp.stack(columns, axis=-1)
