"""Layers that act at each point by itself, and normalisation over the domain. Fields are rows (`layout.py`)."""

from collections.abc import Mapping
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from pnol_jax import collectives
from pnol_jax.bases import GridOperands
from pnol_jax.collectives import MODEL, SPACE
from pnol_jax.errors import InputError
from pnol_jax.operators import draws, stochastic
from pnol_jax.operators.activations import gelu
from pnol_jax.operators.layout import fold, over_cases, unfold

SkipKind = Literal["linear", "soft_gating", "identity", "none"]
NormKind = Literal["none", "instance", "group", "layer"]
Divided = Literal["both", "inputs", "neither"]
LEAST_VARIANCE = 1e-20  # under a root, whose slope at zero is infinite
KERNEL_AXES: Mapping[Divided, tuple[str | None, str | None]] = {
    "both": ("in", "out"),
    "inputs": ("in", None),
    "neither": (None, "out"),
}


class Linear(nnx.Module):
    """A linear map of the channels at each point.

    On rows the weight's gradient is one plain product. Initialised as PyTorch's linear and 1x1 convolution: uniform in
    +- 1/sqrt(in). Where a mesh divides the channels, each device multiplies its own input channels by their rows of
    the kernel and keeps its own output channels of the sum ("both"), or all of them ("inputs": the operator's last
    layer); a layer on what is not divided does its whole work on each ("neither").

    A layer after the last that mixes points is told the grid. Where its weights are random (`stochastic.py`) it then
    draws its outputs, at each point by itself, in place of the weights: the local reparametrisation (Kingma, Salimans,
    Welling 2015, Section 2.2).
    """

    def __init__(
        self, inputs: int, outputs: int, *, bias: bool = True, divided: Divided = "both", rngs: nnx.Rngs
    ) -> None:
        if min(inputs, outputs) < 1:
            raise InputError(
                f"operator: got a layer from {inputs} to {outputs} channels, expected at least 1 "
                "(the width times expansion or ratio, rounded)"
            )
        bound = inputs**-0.5
        draw = draws.uniform(rngs.params(), (inputs, outputs), bound)
        self.kernel = nnx.Param(draw, axes=KERNEL_AXES[divided])
        self.bias: nnx.Param[jax.Array] | None = nnx.data(None)
        self.divided = divided
        if bias:
            draw = draws.uniform(rngs.params(), (outputs,), bound)
            self.bias = nnx.Param(draw, axes=("width" if divided == "both" else None,))

    def __call__(self, rows: jax.Array, grid: GridOperands | None = None) -> jax.Array:
        """(..., in) -> (..., out)."""
        out = self._product(rows, self.kernel[...].astype(rows.dtype))
        out = out if self.bias is None else out + self.bias[...].astype(rows.dtype)
        return out if grid is None else self._perturbed(out, rows, grid)

    def _product(self, rows: jax.Array, kernel: jax.Array) -> jax.Array:
        out = jnp.matmul(rows, kernel)
        if self.divided == "neither":
            return out
        return collectives.total(out, MODEL) if self.divided == "inputs" else collectives.scattered(out, MODEL, -1)

    def _perturbed(self, out: jax.Array, rows: jax.Array, grid: GridOperands) -> jax.Array:
        name = stochastic.named(self.kernel)
        kernel = stochastic.deviation(name, rows.dtype)
        bias = None if self.bias is None else stochastic.deviation(stochastic.named(self.bias), rows.dtype)
        if kernel is None and bias is None:
            return out
        variance = 0.0 if kernel is None else self._product(jnp.square(rows), jnp.square(kernel))
        variance = variance + (LEAST_VARIANCE if bias is None else jnp.square(bias))
        return out + jnp.sqrt(variance) * stochastic.white(out, name, grid, divided=self.divided == "both")


class ChannelMLP(nnx.Module):
    """Two linear maps of the channels with a GELU between them; `divided` is the second one's."""

    def __init__(self, inputs: int, hidden: int, outputs: int, *, divided: Divided = "both", rngs: nnx.Rngs) -> None:
        self.first = Linear(inputs, hidden, rngs=rngs)
        self.second = Linear(hidden, outputs, divided=divided, rngs=rngs)

    def __call__(self, rows: jax.Array, grid: GridOperands | None = None) -> jax.Array:
        """(rows, in) -> (rows, out)."""
        return self.second(gelu(self.first(rows, grid)), grid)


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
    """Normalisation over the domain, per channel ("instance") or over all ("group"), or over channels alone ("layer").

    Means are integrals by the grid's quadrature weights, so they depend neither on the resolution nor on padding.
    "group" and "layer" have a learned scale and shift per channel.
    """

    def __init__(self, kind: NormKind, width: int) -> None:
        self.kind = kind
        if kind in ("group", "layer"):
            self.scale = nnx.Param(jnp.ones(width), axes=("width",))
            self.shift = nnx.Param(jnp.zeros(width), axes=("width",))

    def __call__(self, rows: jax.Array, grid: GridOperands) -> jax.Array:
        """(rows, width) -> (rows, width)."""
        if self.kind == "none":
            return rows
        field = unfold(rows, grid).astype(jnp.promote_types(rows.dtype, jnp.float32))
        weights = jnp.asarray(grid.weights(), field.dtype)
        space = tuple(range(grid.batched, grid.batched + len(grid.axes)))
        share = over_cases(weights / collectives.total(jnp.sum(weights, axis=space, keepdims=True), SPACE), grid)

        def mean(values: jax.Array) -> jax.Array:
            over_space = values
            if self.kind != "layer":
                over_space = collectives.total(jnp.sum(share * values, axis=space, keepdims=True), SPACE)
            if self.kind == "instance":
                return over_space
            return collectives.mean(jnp.mean(over_space, axis=-1, keepdims=True), MODEL)

        centred = field - mean(field)
        normal = fold(centred * lax.rsqrt(mean(jnp.square(centred)) + 1e-5))
        if self.kind != "instance":
            normal = normal * self.scale[...].astype(field.dtype) + self.shift[...].astype(field.dtype)
        return normal.astype(rows.dtype)
