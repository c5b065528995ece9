"""From a config to the optimiser of a run, and what else the run asks of the optimiser's state."""

from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import optax

from pnol_jax.errors import InputError
from pnol_jax.optimizer_config import CustomConfig, OptimizerConfig, ScheduleFreeConfig
from pnol_jax.patterns import check
from pnol_jax.training.offload import fetched
from pnol_jax.training.optimizers.clipping import clipping
from pnol_jax.training.optimizers.parameters import factors
from pnol_jax.training.optimizers.schedules import plateau, schedule
from pnol_jax.training.optimizers.table import build_optimizer

Params = dict[str, jax.Array]
State = TypeVar("State")


def make_optimizer(config: OptimizerConfig, steps: int, members: int | None) -> optax.GradientTransformationExtraArgs:
    """The optimiser of a run of `steps` steps, for a flat dict of parameters.

    Its update takes the loss as `value=`, which a plateau looks at. With members every array has a leading axis of
    them, and each is clipped and updated by itself; `value` is then the loss of each, (members,), or one for all.

    Raises:
        InputError: the schedule does not fit the run, or there is no such custom optimiser; and where the state is
            initialised: a pattern fits no parameter.
    """
    rate, fall = schedule(config, steps), plateau(config, steps)
    after = [_by_groups(config)] if config.groups else []
    step = optax.chain(build_optimizer(config, rate), *after, *([fall] if fall else []))
    if isinstance(config, ScheduleFreeConfig):
        step = optax.contrib.schedule_free(step, rate, config.b1)
    one = _of_the_moving(config, optax.chain(clipping(config), step))
    return one if members is None else _per_member(one)


def evaluation_params(config: OptimizerConfig, state: optax.OptState, params: Params) -> Params:
    """The parameters to evaluate: a schedule-free optimiser's average, otherwise those that are trained."""
    held: Any = None
    if isinstance(config, ScheduleFreeConfig | CustomConfig):
        held = _held(state, optax.contrib.ScheduleFreeState)
    if held is None:
        return params
    held, average = fetched(held), optax.contrib.schedule_free_eval_params
    of_members = jax.vmap(average) if held.b1.ndim else average
    averaged: Params = of_members(held, {name: params[name] for name in held.z})
    return params | averaged


def learning_rate(rate: optax.Schedule, state: optax.OptState, step: int) -> float:
    """The learning rate at a step: the schedule's, less what a plateau has taken off (the mean over members)."""
    held: Any = _held(state, optax.contrib.ReduceLROnPlateauState)
    return float(rate(step)) * (1.0 if held is None else float(jnp.mean(held.scale)))


def _held(state: optax.OptState, kind: type[State]) -> State | None:
    """The part of an optimiser's state that is of a kind."""
    parts = jax.tree.leaves(state, is_leaf=lambda part: isinstance(part, kind))
    return next((part for part in parts if isinstance(part, kind)), None)


def _by_groups(config: OptimizerConfig) -> optax.GradientTransformation:
    def scaled(updates: Params, _: Params | None) -> Params:
        by_name = factors(config.groups, updates)
        return {name: value if by_name[name] == 1 else by_name[name] * value for name, value in updates.items()}

    return optax.stateless(scaled)


def _of_the_moving(config: OptimizerConfig, inner: Any) -> optax.GradientTransformationExtraArgs:
    """A transformation that never sees the parameters of groups of rate 0: no state, no part in a norm."""

    def moving(tree: Params) -> Params:
        by_name = factors(config.groups, tree)
        return {name: value for name, value in tree.items() if by_name[name]}

    def init(params: Params) -> optax.OptState:
        _check_patterns(config, params)
        return inner.init(moving(params))

    def update(updates: Params, state: optax.OptState, params: Params, **extra: Any) -> tuple[Params, optax.OptState]:
        changed, state = inner.update(moving(updates), state, moving(params), **extra)
        return {name: changed.get(name, jnp.zeros_like(value)) for name, value in updates.items()}, state

    return optax.GradientTransformationExtraArgs(init, update)


def _check_patterns(config: OptimizerConfig, params: Params) -> None:
    for name in ("weight_decay_mask", "trust_ratio_mask", "matrices"):
        mask = getattr(config, name, "all")
        if isinstance(mask, list):
            check(f"optimizer.{name}", mask, params)
    for position, group in enumerate(config.groups):
        check(f"optimizer.groups[{position}].parameters", group.patterns, params)
    if not any(factors(config.groups, params).values()):
        raise InputError("optimizer.groups: got rate 0 for every parameter, expected one that trains")


def _per_member(one: Any) -> optax.GradientTransformationExtraArgs:
    def update(
        updates: Params, state: optax.OptState, params: Params, *, value: jax.Array | None = None, **extra: Any
    ) -> tuple[Params, optax.OptState]:
        def of_one(updates: Params, state: optax.OptState, params: Params, value: jax.Array | None) -> Any:
            return one.update(updates, state, params, value=value, **extra)

        by_member = 0 if value is not None and jnp.ndim(value) else None
        changed: tuple[Params, optax.OptState] = jax.vmap(of_one, (0, 0, 0, by_member))(updates, state, params, value)
        return changed

    return optax.GradientTransformationExtraArgs(jax.vmap(one.init), update)
