"""The noise of a posterior without a head for it: what its mean leaves over on the training cases."""

from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from pnol_jax import collectives
from pnol_jax.collectives import CASES
from pnol_jax.posteriors import losses
from pnol_jax.posteriors.protocol import NORMALISER, FitBatch, Params
from pnol_jax.sharding.divide import divided
from pnol_jax.sharding.partition import spec

NOISE = "noise.variance"
LEAST_VARIANCE = 1e-8  # in normalised units


def squared_residuals(mean: jax.Array, params: Params, one: FitBatch) -> tuple[jax.Array, jax.Array]:
    """The sum over a batch's cases of a mean's squared error in normalised units, (out,), and their number, ().

    The mean is (batch, *space, out) in physical units; of a trajectory the first step counts.
    """
    batch, grid, mask = one
    truth = batch.outputs if batch.outputs.ndim == batch.inputs.ndim else batch.outputs[:, 0]
    error = (mean - truth) / params[NORMALISER + "outputs.std"]
    here = mask @ losses.domain_mean(jnp.square(error), grid)
    return collectives.total(here, CASES), collectives.total(jnp.sum(mask), CASES)


def mean_square(
    squares: Callable[[Params, FitBatch], tuple[jax.Array, jax.Array]],
    division: PartitionSpec,
    params: Params,
    data: Callable[..., Iterable[FitBatch]],
) -> jax.Array:
    """The mean over a pass of what `squares` adds up a batch, any shape; `division` says how a mesh divides it."""
    compiled = divided(squares, (division, spec()))
    parts = [compiled(params, batch) for batch in data()]
    summed, count = jax.tree.map(lambda *values: jnp.sum(jnp.stack(values), axis=0), *parts)
    variance: jax.Array = summed / count + LEAST_VARIANCE
    return variance
