"""Several Gaussians at each point as one predictive: members of an ensemble, or passes with weights drawn each time.

Of a mixture of N(m_i, v_i) in equal shares the mean is that of the m_i; the mean of the v_i is what each calls noise,
aleatoric; the variance of the m_i is what they do not agree on, epistemic. Components may be divided over a mesh as
the members of an ensemble are.
"""

from collections.abc import Callable
from dataclasses import replace

import jax
import jax.numpy as jnp
from jax import lax

from pnol_jax import collectives
from pnol_jax.bases import GridOperands
from pnol_jax.collectives import MEMBER
from pnol_jax.predictive import Predictive

Component = Callable[[jax.Array, jax.Array], Predictive]  # of a key and inputs


def of_draws(component: Component, inputs: jax.Array, draws: int, key: jax.Array, num_samples: int) -> Predictive:
    """The mixture of `draws` components at (batch, *space, in), each drawn with its own key, one after the other.

    Samples come of draws of their own, each with its noise at each point, so that the moments do not depend on them.
    """
    of_moments, of_samples, noise = jax.random.split(key, 3)
    predictive = moments(lax.map(lambda key: component(key, inputs), jax.random.split(of_moments, draws)), draws)
    if not num_samples:
        return predictive
    each = lax.map(lambda key: component(key, inputs), jax.random.split(of_samples, num_samples))
    return replace(predictive, samples=with_noise(each.mean, each.aleatoric, noise))


def advance(component: Component, inputs: jax.Array, function: jax.Array, noise: jax.Array) -> jax.Array:
    """One step of draws from inputs of their own, (draws, batch, *space, in), as `posteriors.march.Marching` has it.

    Each draw has a component of its own, drawn by `function`; one after the other, to save memory.
    """
    each = lax.map(lambda own: component(*own), (jax.random.split(function, inputs.shape[0]), inputs))
    return with_noise(each.mean, each.aleatoric, noise)


def advance_in_turn(
    components: Component, count: int, inputs: jax.Array, function: jax.Array, noise: jax.Array
) -> jax.Array:
    """The same where draw i, of (draws, batch, *space, in), has component i mod `count`, so that each acts on its own.

    `components` takes a key and an input for each component at hand; the last round is filled up.
    """
    draws, shape = inputs.shape[0], inputs.shape[1:]
    rounds = -(-draws // count)
    turns = jnp.resize(inputs, (rounds * count, *shape)).reshape(rounds, count, *shape)
    own = jax.random.split(function, rounds), collectives.mine(turns, MEMBER, 1)
    each = lax.map(lambda own: components(*own), own)
    mean, variance = (_in_order(values)[:draws] for values in (each.mean, each.aleatoric))
    return with_noise(mean, variance, noise)


def moments(each: Predictive, count: int) -> Predictive:
    """The mixture of `count` components, of which those at hand stand before the batch; variance by count - 1."""
    mean = _mean(each.mean)
    epistemic = _mean(jnp.square(each.mean - mean)) * count / (count - 1)
    return Predictive(mean=mean, aleatoric=_mean(each.aleatoric), epistemic=epistemic)


def samples(each: Predictive, count: int, key: jax.Array, num_samples: int) -> jax.Array:
    """Draws, (num_samples, batch, *space, out): components in turn from a random order, with noise at each point."""
    order, noise = jax.random.split(key)
    chosen = jax.random.permutation(order, count)[jnp.arange(num_samples) % count]
    return with_noise(_rows(each.mean, chosen), _rows(each.aleatoric, chosen), noise)


def with_noise(mean: jax.Array, variance: jax.Array, key: jax.Array) -> jax.Array:
    """Fields (draws, batch, *space, channels) with independent Gaussian noise at each point."""
    shape, dtype = mean.shape[1:], mean.dtype
    white = jax.vmap(lambda key: collectives.normal(key, shape, dtype))(jax.random.split(key, mean.shape[0]))
    return mean + jnp.sqrt(variance) * white


def spread(grid: GridOperands, count: int) -> GridOperands:
    """The grid once for each of several operators that are mapped over, so that each transform stays a product."""
    repeated: GridOperands = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count, *leaf.shape)), grid)
    return repeated


def _in_order(values: jax.Array) -> jax.Array:
    """(rounds, components at hand, ...) -> (rounds * components, ...)."""
    whole = collectives.assembled(values, MEMBER, 1)
    return whole.reshape(-1, *whole.shape[2:])


def _mean(values: jax.Array) -> jax.Array:
    return collectives.mean(jnp.mean(values, axis=0), MEMBER)


def _rows(values: jax.Array, components: jax.Array) -> jax.Array:
    """The values of the given components, whichever device they are on."""
    here = components - collectives.index(MEMBER) * values.shape[0]
    mine = (here >= 0) & (here < values.shape[0])
    rows = values[jnp.clip(here, 0, values.shape[0] - 1)]
    return collectives.total(jnp.where(mine.reshape(-1, *(1,) * (rows.ndim - 1)), rows, 0), MEMBER)
