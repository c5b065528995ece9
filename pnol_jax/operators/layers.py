"""Layers that act at each point by itself, and normalisation over the domain. Fields are rows (`layout.py`)."""

from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from pnol_jax.bases import GridOperands
from pnol_jax.operators.activations import gelu
from pnol_jax.operators.layout import fold, over_cases, unfold

SkipKind = Literal["linear", "soft_gating", "identity", "none"]
NormKind = Literal["none", "instance", "group"]


class Linear(nnx.Module):
    """A linear map of the channels at each point.

    On rows the weight's gradient is one plain product. Initialised as PyTorch's linear and 1x1 convolution: uniform in
    +- 1/sqrt(in).
    """

    def __init__(self, inputs: int, outputs: int, *, bias: bool = True, rngs: nnx.Rngs) -> None:
        bound = inputs**-0.5
        draw = jax.random.uniform(rngs.params(), (inputs, outputs), minval=-bound, maxval=bound)
        self.kernel = nnx.Param(draw, axes=("in", "out"))
        self.bias: nnx.Param[jax.Array] | None = nnx.data(None)
        if bias:
            draw = jax.random.uniform(rngs.params(), (outputs,), minval=-bound, maxval=bound)
            self.bias = nnx.Param(draw, axes=("out",))

    def __call__(self, rows: jax.Array) -> jax.Array:
        """(..., in) -> (..., out)."""
        out = jnp.matmul(rows, self.kernel[...].astype(rows.dtype))
        return out if self.bias is None else out + self.bias[...].astype(rows.dtype)


class ChannelMLP(nnx.Module):
    """Two linear maps of the channels with a GELU between them."""

    def __init__(self, inputs: int, hidden: int, outputs: int, *, rngs: nnx.Rngs) -> None:
        self.first = Linear(inputs, hidden, rngs=rngs)
        self.second = Linear(hidden, outputs, rngs=rngs)

    def __call__(self, rows: jax.Array) -> jax.Array:
        """(rows, in) -> (rows, out)."""
        return self.second(gelu(self.first(rows)))


class Skip(nnx.Module):
    """A path around a layer: a linear map, a gate per channel ("soft_gating"), the identity, or nothing."""

    def __init__(self, kind: SkipKind, width: int, *, rngs: nnx.Rngs) -> None:
        self.kind = kind
        if kind == "linear":
            self.linear = Linear(width, width, bias=False, rngs=rngs)
        if kind == "soft_gating":
            self.gate = nnx.Param(jnp.ones(width), axes=("width",))

    def __call__(self, rows: jax.Array) -> jax.Array | float:
        """(rows, width) -> (rows, width)."""
        match self.kind:
            case "linear":
                return self.linear(rows)
            case "soft_gating":
                return rows * self.gate[...].astype(rows.dtype)
            case "identity":
                return rows
        return 0.0


class Norm(nnx.Module):
    """Normalisation of each case over the domain: per channel ("instance"), or over all channels ("group").

    Means are integrals by the grid's quadrature weights, so they depend neither on the resolution nor on padding.
    "group" has a learned scale and shift per channel.
    """

    def __init__(self, kind: NormKind, width: int) -> None:
        self.kind = kind
        if kind == "group":
            self.scale = nnx.Param(jnp.ones(width), axes=("width",))
            self.shift = nnx.Param(jnp.zeros(width), axes=("width",))

    def __call__(self, rows: jax.Array, grid: GridOperands) -> jax.Array:
        """(rows, width) -> (rows, width)."""
        if self.kind == "none":
            return rows
        field = unfold(rows, grid)
        weights = jnp.asarray(grid.weights(), field.dtype)
        space = tuple(range(grid.batched, grid.batched + len(grid.axes)))
        share = over_cases(weights / jnp.sum(weights, axis=space, keepdims=True), grid)

        def mean(values: jax.Array) -> jax.Array:
            over_space = jnp.sum(share * values, axis=space, keepdims=True)
            return over_space if self.kind == "instance" else jnp.mean(over_space, axis=-1, keepdims=True)

        centred = field - mean(field)
        normal = fold(centred * lax.rsqrt(mean(jnp.square(centred)) + 1e-5))
        if self.kind == "instance":
            return normal
        return normal * self.scale[...].astype(field.dtype) + self.shift[...].astype(field.dtype)
