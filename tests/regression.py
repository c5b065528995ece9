"""Operators that are linear in some of their parameters, and what exact Bayesian regression says of them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from numpy.typing import NDArray

from pnol_jax.bases import Basis, GridOperands, make_operands
from pnol_jax.config import TrainingConfig
from pnol_jax.grids import Axis, Grid
from pnol_jax.operators import build_operator, functional
from pnol_jax.operators.layout import enter, leave
from pnol_jax.operators.spectral import SpectralConv
from pnol_jax.posterior_config import LaplaceConfig
from pnol_jax.posteriors import Batch, FitBatch, build_posterior
from pnol_jax.posteriors.laplace import Laplace

BASES = (Basis("fourier", 5),)
POINTS, OUTPUTS, CASES, DEVIATION = 7, 2, 6, 0.3  # of the noise, in units of the outputs' own
CONSTANTS = {
    "normaliser.inputs.mean": np.array([0.3]),
    "normaliser.inputs.std": np.array([2.0]),
    "normaliser.outputs.mean": np.array([-1.0, 0.5]),
    "normaliser.outputs.std": np.array([0.5, 2.0]),
}
Float64 = NDArray[np.float64]


class OneConvolution(nnx.Module):
    """A spectral convolution and nothing else, linear in all its parameters."""

    last_layer = ("spectral.kernel", "spectral.bias")

    def __init__(self, inputs: int, outputs: int, rngs: nnx.Rngs) -> None:
        self.spectral = SpectralConv(inputs, outputs, BASES, rngs=rngs)

    def __call__(self, inputs: jax.Array, grid: Any) -> jax.Array:
        return leave(self.spectral(enter(inputs, grid), grid), grid)


def grid(n: int = POINTS) -> Grid:
    return Grid((Axis.uniform(n, length=2.0),))


def operands(n: int = POINTS) -> GridOperands:
    return make_operands(grid(n), BASES, None, "float64")


def laplace(operator: str = "fno", **options: Any) -> Laplace:
    """A posterior with a given prior and noise, unless the options say otherwise."""

    def build(channels: int, seed: int | None) -> Any:
        rngs = nnx.Rngs(seed or 0)
        if operator == "convolution":
            return functional(OneConvolution(1, channels, rngs))
        sizes = {"width": 4, "depth": 1} if operator != "deeponet" else {"width": 4, "depth": 2, "features": 3}
        return functional(build_operator(operator, 1, channels, BASES, sizes, rngs))

    given = {"heteroscedastic": False, "prior_precision": 0.7, "noise": DEVIATION, "cache": ""}
    made = build_posterior(LaplaceConfig(**given | options), TrainingConfig(), build, OUTPUTS)
    assert isinstance(made, Laplace)
    return made


@dataclass(frozen=True)
class Problem:
    """Cases on a grid, the last one masked."""

    inputs: Float64
    outputs: Float64

    def batches(self, size: int | None = None, repeat: int = 1) -> Callable[[], list[FitBatch]]:
        there, mask = operands(), np.ones(len(self.inputs))
        mask[-1] = 0
        size = size or len(mask)
        starts = range(0, len(mask), size)

        def one(start: int) -> FitBatch:
            rows = slice(start, start + size)
            batch = Batch(jnp.asarray(self.inputs[rows]), jnp.asarray(self.outputs[rows]))
            return FitBatch(batch, there, jnp.asarray(mask[rows]))

        return lambda: [one(start) for start in starts] * repeat


def problem(cases: int = CASES, seed: int = 0) -> Problem:
    draws = np.random.default_rng(seed)
    return Problem(draws.standard_normal((cases, POINTS, 1)), draws.standard_normal((cases, POINTS, OUTPUTS)))


def constants() -> dict[str, jax.Array]:
    return {name: jnp.asarray(value) for name, value in CONSTANTS.items()}


@dataclass(frozen=True)
class Regression:
    """y = offset + J theta + noise for cases that count, theta ~ N(0, 1 / precision), in closed form."""

    jacobian: Float64  # (n, P), of normalised outputs
    target: Float64  # (n,), less the offset
    variance: Float64  # of the noise, (n,)
    precision: Float64  # (P,)

    @property
    def covariance(self) -> Float64:
        hessian = self.jacobian.T @ (self.jacobian / self.variance[:, None])
        return np.linalg.inv(hessian + np.diag(self.precision))

    @property
    def mean(self) -> Float64:
        return self.covariance @ self.jacobian.T @ (self.target / self.variance)

    @property
    def log_marginal(self) -> float:
        total = np.diag(self.variance) + (self.jacobian / self.precision) @ self.jacobian.T
        return -0.5 * (
            len(self.target) * np.log(2 * np.pi)
            + np.linalg.slogdet(total)[1]
            + self.target @ np.linalg.solve(total, self.target)
        )


def mean_and_jacobian(made: Laplace, params: Any, inputs: Float64) -> tuple[Float64, Float64]:
    """The normalised mean (n,), n = cases * points * out, and its Jacobian (n, P), P in the order of the names."""
    there = operands()

    @jax.jit
    def of(params: Any) -> tuple[jax.Array, Any]:
        def mean(theta: Any) -> jax.Array:
            return made.base.moments(params | theta, jnp.asarray(inputs), there)[0]

        return mean(params), jax.jacfwd(mean)(made.subset.of(params))

    mean, found = of(params)
    parts = [np.asarray(found[name]).reshape(mean.size, -1) for name in made.subset.shapes]
    return np.asarray(mean).ravel(), np.concatenate(parts, axis=1)


def regression(made: Laplace, params: Any, data: Problem, precision: Float64 | float) -> Regression:
    """The exact answer for the cases that are not masked."""
    mean, J = mean_and_jacobian(made, params, data.inputs[:-1])
    shift, scale = CONSTANTS["normaliser.outputs.mean"], CONSTANTS["normaliser.outputs.std"]
    target = ((data.outputs[:-1] - shift) / scale).ravel() - mean + J @ vector(made, params)
    return Regression(J, target, np.full(len(target), DEVIATION**2), np.broadcast_to(precision, J.shape[1:]))


def vector(made: Laplace, params: Any) -> Float64:
    return np.concatenate([np.asarray(params[name]).ravel() for name in made.subset.shapes])


def with_vector(made: Laplace, params: Any, values: Float64) -> Any:
    """The parameters with those of the posterior's replaced."""
    return params | made.subset.split(jnp.asarray(values), params)
