"""What both sides of the comparison with laplax are given: an FNO, its parameters, cases, prior and noise.

It runs in the peer's environment too, and imports nothing but operators and grids of the library.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from pnol_jax.bases import Basis, GridOperands, make_operands
from pnol_jax.grids import Axis, Grid
from pnol_jax.operators import Functional, functional
from pnol_jax.operators.fno import FNO

PRECISION, NOISE = 10.0, 0.1  # of the prior; standard deviation of the noise
LAST = ("projection.second.bias", "projection.second.kernel")


@dataclass(frozen=True)
class Size:
    """A grid of n x n points, an FNO, so many training cases, so many asked for at a time, a rank."""

    points: int
    modes: int
    width: int
    depth: int
    cases: int
    asked: int
    rank: int


# Full curvature of the last layer, and low rank in all parameters, for which the peer's predictions take longer.
SIZES = {
    "last_layer": Size(points=32, modes=12, width=32, depth=4, cases=64, asked=8, rank=0),
    "low_rank": Size(points=16, modes=8, width=16, depth=3, cases=64, asked=2, rank=10),
}


def operator(size: Size) -> tuple[Functional, GridOperands]:
    """The FNO on a bounded square, and its operands, in JAX's default precision."""
    bases = (Basis("padded", size.modes),) * 2
    made = FNO(1, 1, bases, width=size.width, depth=size.depth, mlp_skip="identity", rngs=nnx.Rngs(0))
    grid = Grid((Axis.uniform(size.points, "bounded", 1.0, "centre"),) * 2)
    plain = functional(made)
    params = {name: jnp.asarray(value, float) for name, value in plain.params.items()}
    operands = make_operands(grid, bases, None, jnp.zeros(()).dtype.name)
    return plain._replace(params=params), jax.tree.map(jnp.asarray, operands)


def permeability(size: Size, cases: int, seed: int) -> jax.Array:
    """Two-valued fields as Darcy's, in standard units: the sign of smooth random ones, (cases, n, n, 1)."""
    k = np.pi * np.arange(8)
    points = (np.arange(size.points) + 0.5) / size.points
    waves = np.cos(k[:, None] * points)
    spectrum = 1 / (k[:, None] ** 2 + k**2 + 9)
    draws = np.random.default_rng(seed).standard_normal((cases, 8, 8)) * spectrum
    fields = np.einsum("bkl,kx,ly->bxy", draws, waves, waves)
    return jnp.asarray(np.sign(fields)[..., None], float)


def cases(size: Size) -> tuple[jax.Array, jax.Array]:
    """Inputs of training, and those that are asked for."""
    return permeability(size, size.cases, 0), permeability(size, size.asked, 1)


def memory(compiled: Any) -> int:
    """Bytes that a compiled program takes beside its arguments: temporary ones and its results."""
    found = compiled.memory_analysis()
    return int(found.temp_size_in_bytes + found.output_size_in_bytes)
