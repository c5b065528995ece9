"""The training step: one pure function of the state, compiled once per shape of batch."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.sharding import Mesh

from pnol_jax.bases import GridOperands
from pnol_jax.posteriors import Batch, Params, Posterior, trained
from pnol_jax.precision import fast
from pnol_jax.sharding.divide import Program, Specs, current_mesh, divide, holder
from pnol_jax.sharding.partition import shardings
from pnol_jax.sharding.placement import WHOLE, like_parameters, parameter_specs
from pnol_jax.training.accumulate import accumulated
from pnol_jax.training.offload import bound, fetched, offloaded, put_back
from pnol_jax.training.scaling import LossScale, first_scale


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainState:
    """What a step changes. `average` is the moving average of `params`, empty where none is kept.

    `scaling` is that of the loss in float16, None in other precisions.

    `key` is never drawn from itself: every step folds its number in, so a resumed run draws what an unbroken one does.
    """

    step: jax.Array
    params: Params
    optimizer: optax.OptState
    average: Params
    key: jax.Array
    scaling: LossScale | None = None


T = TypeVar("T")
Metrics = dict[str, jax.Array]
Step = Program[..., tuple[TrainState, Metrics]]


def initial_state(
    posterior: Posterior,
    optimizer: optax.GradientTransformation,
    seed: int,
    averaged: bool,
    scaled: bool = False,
    offload: bool = False,
) -> TrainState:
    """The state before the first step, made in its place on the mesh at hand; the optimiser's on the host if asked."""

    def make() -> TrainState:
        return fresh_state(posterior, optimizer, seed, averaged, scaled)

    mesh = current_mesh()
    if mesh is None:
        state = make()
    else:
        specs = state_specs(jax.eval_shape(make), posterior, mesh)
        state = jax.jit(make, out_shardings=shardings(mesh, specs))()
    return replace(bound(state), optimizer=offloaded(state.optimizer)) if offload else state


def fresh_state(
    posterior: Posterior, optimizer: optax.GradientTransformation, seed: int, averaged: bool, scaled: bool = False
) -> TrainState:
    """The same, as a function that can be traced for its shapes."""
    return state_from(trained(posterior.initial(seed)), optimizer, jax.random.key(seed), averaged, scaled)


def state_from(
    params: Params, optimizer: optax.GradientTransformation, key: jax.Array, averaged: bool, scaled: bool = False
) -> TrainState:
    """The state before the first step of a run that begins with `params`; the key is one, ()."""
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        optimizer=optimizer.init(params),
        average=jax.tree.map(jnp.copy, params) if averaged else {},
        key=key,
        scaling=first_scale() if scaled else None,
    )


def state_specs(state: TrainState, posterior: Posterior, mesh: Mesh) -> Specs:
    """How a mesh divides a training state (or one of shapes)."""
    specs = parameter_specs(state.params, posterior.axes, mesh)
    parts: dict[str, Any] = {
        "step": WHOLE,
        "params": specs,
        "optimizer": like_parameters(state.optimizer, state.params, specs, posterior.members is not None),
        "average": {name: specs[name] for name in state.average},
        "key": WHOLE,
        "scaling": jax.tree.map(lambda _: WHOLE, state.scaling),
    }
    return TrainState(**parts)


def make_step(posterior: Posterior, optimizer: optax.GradientTransformation, ema: float, accumulate: int = 1) -> Step:
    """The compiled step `(state, constants, batch, grid[, limit]) -> (state, metrics)`; the old state is given up.

    Loss and gradient are computed by parts on a mesh; the optimiser acts on whole arrays, which lie divided.

    With `accumulate` they are the means over so many parts of the batch, computed one after the other.

    Where the loss or a gradient is not finite, or its norm is above the `limit`, parameters, optimiser and average stay
    what they were, so that the state in hand is always the last good one; loss and norm in the metrics say so, and the
    loss' scale of a state that has one. Products of float32 are those that the platform is fast at.
    """

    def loss(params: Params, constants: Params, batch: Batch, grid: GridOperands, key: jax.Array, *scale: jax.Array):  # type: ignore[no-untyped-def]
        value, metrics = posterior.loss(params | constants, batch, grid, key)
        return math.prod(scale, start=value), metrics

    def make(specs: Specs, *others: Specs) -> Callable[..., tuple[TrainState, Metrics]]:
        gradient = accumulated(jax.value_and_grad(loss, has_aux=True), accumulate)
        scale = jax.tree.leaves(specs.scaling)[:1]
        gradient_of = divide(gradient, (specs.params, *others[:3], WHOLE, *scale), (WHOLE, specs.params))
        held: Callable[[TrainState], TrainState] = holder(specs)

        def step(
            state: TrainState, constants: Params, batch: Batch, grid: GridOperands, limit: Any = None
        ) -> tuple[TrainState, Metrics]:
            with fast():
                value, gradient, metrics = _descent(gradient_of, state, constants, batch, grid)
                norm = optax.tree.norm(gradient)
                finite = jnp.isfinite(value) & jnp.isfinite(norm)
                good = finite if limit is None else finite & (norm <= limit)
                new = _moved(optimizer, ema, state, value, gradient, good)
                overflow = jnp.isfinite(value) & ~finite
                new = replace(new, step=state.step + 1, scaling=state.scaling and state.scaling.after(overflow))
                new = held(new)
                new = replace(new, optimizer=put_back(new.optimizer, state.optimizer))
            return new, metrics | {"loss": value, "gradient_norm": norm}

        return step

    return Program(make, donate=(0,))


def _descent(
    gradient_of: Callable[..., Any], state: TrainState, *of: Params | Batch | GridOperands
) -> tuple[jax.Array, Params, Metrics]:
    """Loss, gradient and figures of a batch, without the scale of the loss."""
    key = jax.random.fold_in(state.key, state.step)
    if state.scaling is None:
        (value, metrics), gradient = gradient_of(state.params, *of, key)
        return value, gradient, metrics
    scale = state.scaling.scale
    (value, metrics), gradient = gradient_of(state.params, *of, key, scale)
    value, gradient = jax.tree.map(lambda leaf: leaf / scale, (value, gradient))
    return value, gradient, metrics | {"loss_scale": scale}


def _moved(
    optimizer: optax.GradientTransformation,
    ema: float,
    state: TrainState,
    value: jax.Array,
    gradient: Params,
    good: jax.Array,
) -> TrainState:
    """The state with the optimiser's step taken, if the gradient is good for one."""

    def act(state: TrainState) -> TrainState:
        updates, opt_state = optimizer.update(gradient, state.optimizer, state.params, value=value)
        params = optax.apply_updates(state.params, updates)
        return replace(state, params=params, optimizer=opt_state, average=_averaged(state, params, ema))

    # A branch rather than a choice between arrays: XLA then copies no moment to update it in its place.
    here = replace(state, optimizer=fetched(state.optimizer))
    moved: TrainState = lax.cond(good, act, lambda state: state, here)
    return moved


def _averaged(state: TrainState, params: Params, ema: float) -> Params:
    """Exponential moving average, its decay small at first so that the start is forgotten."""
    if not state.average:
        return {}
    decay = jnp.minimum(ema, (1.0 + state.step) / (10.0 + state.step))
    return {name: decay * old + (1 - decay) * params[name] for name, old in state.average.items()}


def not_finite(posterior: Posterior, state: TrainState, constants: Params, batch: Batch, grid: GridOperands) -> str:
    """The name of the first tensor with a value that is not finite: of the batch, the parameters, the gradient.

    `state` is what the step that failed returned: its parameters are unchanged, its number is the next step's.
    """

    def loss(params: Params, constants: Params, batch: Batch, grid: GridOperands, key: jax.Array) -> jax.Array:
        return posterior.loss(params | constants, batch, grid, key)[0]

    def make(params: Specs, *others: Specs) -> Callable[..., Params]:
        def gradient(params: Params, constants: Params, batch: Batch, grid: GridOperands, key: jax.Array) -> Params:
            slopes: Params = jax.grad(lambda params: loss(params, constants, batch, grid, key))(params)
            return slopes

        return divide(gradient, (params, *others), params)

    key = jax.random.fold_in(state.key, state.step - 1)
    found = Program(make)(state.params, constants, batch, grid, key)
    tensors = [("batch.inputs", batch.inputs), ("batch.outputs", batch.outputs)]
    tensors += [(name, value) for name, value in state.params.items()]
    tensors += [(f"gradient of {name}", value) for name, value in found.items()]
    return next((name for name, value in tensors if not bool(jnp.all(jnp.isfinite(value)))), "loss")
