"""The training step: one pure function of the state, compiled once per shape of batch."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import jax
import jax.numpy as jnp
import optax

from pnol_jax.bases import GridOperands
from pnol_jax.posteriors import Batch, Params, Posterior, trained


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainState:
    """What a step changes. `average` is the moving average of `params`, empty where none is kept.

    `key` is never drawn from itself: every step folds its number in, so a resumed run draws what an unbroken one does.
    """

    step: jax.Array
    params: Params
    optimizer: optax.OptState
    average: Params
    key: jax.Array


T = TypeVar("T")
Step = Callable[[TrainState, Params, Batch, GridOperands], tuple[TrainState, dict[str, jax.Array]]]


def initial_state(
    posterior: Posterior, optimizer: optax.GradientTransformation, seed: int, averaged: bool
) -> TrainState:
    """The state before the first step."""
    params = trained(posterior.initial(seed))
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        optimizer=optimizer.init(params),
        average=jax.tree.map(jnp.copy, params) if averaged else {},
        key=jax.random.key(seed),
    )


def make_step(posterior: Posterior, optimizer: optax.GradientTransformation, ema: float) -> Step:
    """The compiled step `(state, constants, batch, grid) -> (state, metrics)`; the old state is given up.

    Where the loss or a gradient is not finite the parameters stay what they were, so that the state in hand is always
    the last good one; the metrics say so.
    """

    def loss(params: Params, constants: Params, batch: Batch, grid: GridOperands, key: jax.Array):  # type: ignore[no-untyped-def]
        return posterior.loss(params | constants, batch, grid, key)

    def step(
        state: TrainState, constants: Params, batch: Batch, grid: GridOperands
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        key = jax.random.fold_in(state.key, state.step)
        (value, metrics), gradient = jax.value_and_grad(loss, has_aux=True)(state.params, constants, batch, grid, key)
        norm = optax.tree.norm(gradient)
        good = jnp.isfinite(value) & jnp.isfinite(norm)
        updates, opt_state = optimizer.update(gradient, state.optimizer, state.params, value=value)
        params = optax.apply_updates(state.params, updates)
        new = replace(
            state,
            step=state.step + 1,
            params=_where(good, params, state.params),
            optimizer=_where(good, opt_state, state.optimizer),
            average=_averaged(state, params, ema, good),
        )
        return new, metrics | {"loss": value, "gradient_norm": norm}

    return jax.jit(step, donate_argnums=0)


def _where(condition: jax.Array, new: T, old: T) -> T:
    chosen: T = jax.tree.map(lambda a, b: jnp.where(condition, a, b), new, old)
    return chosen


def _averaged(state: TrainState, params: Params, ema: float, good: jax.Array) -> Params:
    """Exponential moving average, its decay small at first so that the start is forgotten."""
    if not state.average:
        return {}
    decay = jnp.minimum(ema, (1.0 + state.step) / (10.0 + state.step))
    decay = jnp.where(good, decay, 1.0)
    return {name: decay * old + (1 - decay) * params[name] for name, old in state.average.items()}


def not_finite(posterior: Posterior, state: TrainState, constants: Params, batch: Batch, grid: GridOperands) -> str:
    """The name of the first tensor with a value that is not finite: of the batch, the parameters, the gradient.

    `state` is what the step that failed returned: its parameters are unchanged, its number is the next step's.
    """
    key = jax.random.fold_in(state.key, state.step - 1)
    gradient = jax.grad(lambda params: posterior.loss(params | constants, batch, grid, key)[0])(state.params)
    tensors = [("batch.inputs", batch.inputs), ("batch.outputs", batch.outputs)]
    tensors += [(name, value) for name, value in state.params.items()]
    tensors += [(f"gradient of {name}", value) for name, value in gradient.items()]
    return next((name for name, value in tensors if not bool(jnp.all(jnp.isfinite(value)))), "loss")
