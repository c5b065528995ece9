"""An operator around its trained parameters: f(theta) = f(theta*) + J (theta - theta*), by products with J alone."""

from collections.abc import Callable
from typing import NamedTuple

import jax

from pnol_jax import collectives
from pnol_jax.bases import GridOperands
from pnol_jax.posteriors.laplace.subset import Subset
from pnol_jax.posteriors.protocol import Params

Moments = Callable[[Params, jax.Array, GridOperands], tuple[jax.Array, jax.Array | None]]


class Linearised(NamedTuple):
    """Mean and, of a head, noise variance, both (batch, *space, out) in normalised units, and products with J.

    `push` maps tangents of the parameters, by name, to fields; `theta` are the parameters themselves.
    """

    mean: jax.Array
    variance: jax.Array | None
    push: Callable[[Params], jax.Array]
    theta: Params

    def pull(self, field: jax.Array) -> Params:
        """J^T times a field (batch, *space, out): an array by name."""
        cotangent = collectives.varying_like(field, self.mean)
        gradient: Params = jax.linear_transpose(self.push, self.theta)(cotangent)[0]
        return gradient


def noise_of(linear: Linearised, given: jax.Array | None) -> jax.Array:
    """The variance of the noise: the head's, (batch, *space, out), or the one `given`, (out,), without a head."""
    variance = given if linear.variance is None else linear.variance
    assert variance is not None
    return variance


def linearise(moments: Moments, subset: Subset, params: Params, inputs: jax.Array, grid: GridOperands) -> Linearised:
    """Linearise the mean at inputs (batch, *space, in) in the subset's parameters: the operator is computed once."""

    def of(theta: Params) -> tuple[jax.Array, jax.Array | None]:
        return moments(params | theta, inputs, grid)

    theta = subset.of(params)
    mean, push, variance = jax.linearize(of, theta, has_aux=True)
    return Linearised(mean, variance, push, theta)
