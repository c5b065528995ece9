"""Operators that are linear in their parameters, of which posteriors are known in closed form."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from pnol_jax.bases import Basis, GridOperands, make_operands
from pnol_jax.config import TrainingConfig
from pnol_jax.grids import Axis, Grid
from pnol_jax.operators import functional
from pnol_jax.operators.layers import Linear
from pnol_jax.operators.layout import enter, leave
from pnol_jax.operators.spectral import SpectralConv
from pnol_jax.posteriors.problem import Problem

BASES = (Basis("fourier", 4),)
NAMES = ("inputs.mean", "inputs.std", "outputs.mean", "outputs.std")


class Pointwise(nnx.Module):
    """A linear map of the channels at each point: a projection and nothing else."""

    last_layer = ("projection.kernel", "projection.bias")

    def __init__(self, inputs: int, outputs: int, rngs: nnx.Rngs) -> None:
        self.projection = Linear(inputs, outputs, divided="inputs", rngs=rngs)

    def __call__(self, inputs: jax.Array, grid: GridOperands) -> jax.Array:
        return leave(self.projection(enter(inputs, grid), grid), grid)


class Spectral(nnx.Module):
    """One spectral convolution and nothing else."""

    def __init__(self, inputs: int, outputs: int, rngs: nnx.Rngs) -> None:
        self.spectral = SpectralConv(inputs, outputs, BASES, rngs=rngs)

    def __call__(self, inputs: jax.Array, grid: GridOperands) -> jax.Array:
        return leave(self.spectral(enter(inputs, grid), grid), grid)


def problem(make: Callable[..., nnx.Module], inputs: int, outputs: int, cases: int = 0, **training: Any) -> Problem:
    """What a posterior of such an operator is built for."""

    def build(channels: int, seed: int | None, more: int = 0) -> Any:
        return functional(make(inputs + more, channels, nnx.Rngs(seed or 0)))

    return Problem(TrainingConfig(**training), build, outputs, BASES, cases)


def operands(n: int, bucket: int | None = None) -> GridOperands:
    """Of n points on a period."""
    made = make_operands(Grid((Axis.uniform(n),)), BASES, None if bucket is None else (bucket,), "float64")
    return jax.tree.map(jnp.asarray, made)  # type: ignore[no-any-return]


def constants(inputs: int, outputs: int) -> dict[str, jax.Array]:
    """A normaliser that changes nothing."""
    sizes = {"inputs": inputs, "outputs": outputs}
    return {
        f"normaliser.{name}": (jnp.ones if name.endswith("std") else jnp.zeros)(sizes[name.partition(".")[0]])
        for name in NAMES
    }


def field(*shape: int, seed: int = 0) -> jax.Array:
    """Standard normal numbers."""
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape))


def close_in_mean(draws: Any, expected: Any, errors: float = 5.0) -> None:
    """Refuse a mean over draws (draws, ...) that is further from the expected one than so many standard errors."""
    draws = np.asarray(draws)
    error = draws.std(axis=0, ddof=1) / len(draws) ** 0.5
    np.testing.assert_array_less(np.abs(draws.mean(axis=0) - expected), errors * error + 1e-12)
