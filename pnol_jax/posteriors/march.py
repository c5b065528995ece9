"""Step models: many trajectories from one state, so that the uncertainty of each step is carried into the next."""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax import lax

from pnol_jax.bases import GridOperands
from pnol_jax.errors import InputError
from pnol_jax.posteriors.protocol import Params, Posterior

Advance = Callable[[Params, jax.Array, GridOperands, jax.Array, jax.Array], jax.Array]


@runtime_checkable
class Marching(Protocol):
    """A posterior that can take a step from many states at once, each with a function of its own."""

    def advance(
        self, params: Params, inputs: jax.Array, grid: GridOperands, function: jax.Array, noise: jax.Array
    ) -> jax.Array:
        """One draw of the outputs for each of many inputs, (draws, batch, *space, in) -> (draws, batch, *space, out).

        The key `function` draws what stays the same along a trajectory, draw i's operator; `noise` the rest.
        """
        ...


def march(
    posterior: Posterior,
    params: Params,
    inputs: jax.Array,
    grid: GridOperands,
    key: jax.Array,
    steps: int,
    draws: int,
    keep: Callable[[jax.Array, jax.Array], Any] = lambda states, number: states,
) -> Any:
    """Draws of trajectories, each step from the draw's own last state.

    Args:
        posterior: of a step model.
        params: its parameters.
        inputs: first state and static fields, (batch, *space, in).
        grid: its operands.
        key: of all draws.
        steps: how many.
        draws: how many trajectories for each case.
        keep: what is kept of the states after a step, (draws, batch, *space, out), and the step's number from 0.

    Returns:
        What was kept of every step, each array with a leading axis of steps.

    Raises:
        InputError: the posterior has no samples.
    """
    step = stepping(posterior)
    function, noise = jax.random.split(key)
    spread = jnp.broadcast_to(inputs, (draws, *inputs.shape))
    channels = jax.eval_shape(step, params, spread, grid, function, noise).shape[-1]
    static = spread[..., channels:]

    def one(state: jax.Array, number: jax.Array) -> tuple[jax.Array, Any]:
        here = jnp.concatenate([state, static], axis=-1)
        after = step(params, here, grid, function, jax.random.fold_in(noise, number))
        return after, keep(after, number)

    return lax.scan(one, spread[..., :channels], jnp.arange(steps))[1]


def stepping(posterior: Posterior) -> Advance:
    """The posterior's step from many states at once, as `Marching.advance` has it.

    Raises:
        InputError: the posterior has no samples.
    """
    if not posterior.has_samples:
        raise InputError("rollout: this posterior has no samples; expected one that has, such as 'coloured'")
    return posterior.advance if isinstance(posterior, Marching) else _anew(posterior)


def _anew(posterior: Posterior) -> Advance:
    """For a posterior that does not say how it marches: every step draws from its predictive anew."""

    def step(params: Params, inputs: jax.Array, grid: GridOperands, function: jax.Array, noise: jax.Array) -> jax.Array:
        def one(inputs: jax.Array, key: jax.Array) -> jax.Array:
            samples = posterior.predict(params, inputs, grid, key, num_samples=1).samples
            assert samples is not None
            return samples[0]

        return jax.vmap(one)(inputs, jax.random.split(noise, inputs.shape[0]))

    return step
