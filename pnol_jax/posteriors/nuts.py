"""The posterior of a few parameters by NUTS (Hoffman and Gelman 2014), to check approximations against: by BlackJAX.

It needs the extra `reference`. Likelihood, prior and noise are those that a Laplace posterior was fitted with, and the
chain moves in its coordinates, theta = theta* + R z, in which the posterior is nearly a standard normal. The operator
is not linearised; a head's noise stays what it is at theta*.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pnol_jax.bases import GridOperands
from pnol_jax.errors import InputError
from pnol_jax.posteriors.laplace import Laplace
from pnol_jax.posteriors.laplace.likelihood import information
from pnol_jax.posteriors.laplace.products import tangents
from pnol_jax.posteriors.protocol import NORMALISER, FitBatch, Params
from pnol_jax.predictive import Predictive

TOGETHER = 8  # draws whose fields are computed at the same time


class Chain(NamedTuple):
    """Draws of the parameters less the trained ones, (draws, P), and how many transitions diverged."""

    draws: jax.Array
    divergences: int


def sample(
    posterior: Laplace,
    fitted: Params,
    data: Callable[[], Iterable[FitBatch]],
    key: jax.Array,
    *,
    draws: int = 1000,
    warmup: int = 500,
) -> Chain:
    """Draw from the posterior of the parameters that `posterior` is about.

    Args:
        posterior: a Laplace posterior.
        fitted: its parameters after `fit`.
        data: the training cases, which are all held at the same time.
        key: of the chain, ().
        draws: transitions that are kept.
        warmup: transitions in which step size and mass matrix are found, in Stan's windows.

    Raises:
        InputError: BlackJAX is not installed.
    """
    try:
        import blackjax
    except ImportError:
        raise InputError("nuts: got no package 'blackjax', expected pnol-jax[reference] to be installed") from None
    density = log_density(posterior, fitted, list(data()))
    first, second = jax.random.split(key)
    adapted, _ = blackjax.window_adaptation(blackjax.nuts, density).run(
        first, jnp.zeros(fitted["laplace.index"].size), warmup
    )
    step = blackjax.nuts(density, **adapted.parameters).step

    def move(state: Any, key: jax.Array) -> Any:
        state, about = step(key, state)
        return state, (state.position, about.is_divergent)

    run = jax.jit(lambda state, keys: jax.lax.scan(move, state, keys)[1])
    positions, divergent = run(adapted.state, jax.random.split(second, draws))
    return Chain(_scaled(posterior, fitted, positions), int(divergent.sum()))


def log_density(posterior: Laplace, fitted: Params, batches: list[FitBatch]) -> Callable[[jax.Array], jax.Array]:
    """The logarithm of the posterior's density of z, (P,), up to a constant."""
    index, gamma = fitted["laplace.index"], fitted["laplace.noise"]
    groups = posterior.groups[np.asarray(index)]
    precision = jnp.asarray(fitted["laplace.prior_precision"])[groups]
    trained = jnp.asarray(posterior.vector(fitted)[np.asarray(index)])
    noises = [posterior.process(fitted, one.batch.inputs, one.grid).aleatoric / gamma for one in batches]
    shift, scale = fitted[NORMALISER + "outputs.mean"], fitted[NORMALISER + "outputs.std"]

    def density(z: jax.Array) -> jax.Array:
        moved = _scaled(posterior, fitted, z)
        total = -0.5 * jnp.sum(precision * jnp.square(trained + moved))
        for one, noise in zip(batches, noises, strict=True):
            mean, _ = posterior.moments(_shifted(posterior, fitted, moved), one.batch.inputs, one.grid)
            outputs = one.batch.outputs if one.batch.outputs.ndim == mean.ndim else one.batch.outputs[:, 0]
            hessian = information(noise * gamma / scale**2, one.mask, one.grid, posterior.observations, mean)
            total -= 0.5 * jnp.sum(jnp.where(hessian > 0, hessian * jnp.square((outputs - shift) / scale - mean), 0))
        return total

    return density


def predict(posterior: Laplace, fitted: Params, chain: Chain, inputs: jax.Array, grid: GridOperands) -> Predictive:
    """Mean and epistemic variance over a chain's draws at (batch, *space, in); samples are their fields, no noise."""

    def of(moved: jax.Array) -> jax.Array:
        return posterior.base.mean(_shifted(posterior, fitted, moved), inputs, grid)

    fields: jax.Array = jax.lax.map(of, chain.draws, batch_size=TOGETHER)
    aleatoric = posterior.process(fitted, inputs, grid).aleatoric
    return Predictive(jnp.mean(fields, axis=0), aleatoric, jnp.var(fields, axis=0, ddof=1), fields)


def _scaled(posterior: Laplace, fitted: Params, z: jax.Array) -> jax.Array:
    return posterior.structure.scale(posterior.arrays(fitted), z)


def _shifted(posterior: Laplace, fitted: Params, moved: jax.Array) -> Params:
    theta = posterior.subset.of(fitted)
    added = tangents(posterior.subset, moved, fitted["laplace.index"], theta)
    return fitted | {name: theta[name] + added[name] for name in theta}
