"""Trainings that differ in numbers of the optimiser and in the seed only, side by side as one program.

Each lane is a whole training of its own, with its parameters, optimiser, moving average and random key; all see the
same batches. The numbers are arguments of the program, so that further lanes of these shapes need no compilation.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from msgspec.structs import replace

from pnol_jax.bases import GridOperands
from pnol_jax.config import ExperimentConfig
from pnol_jax.errors import InputError
from pnol_jax.posteriors import Batch, Params, Posterior, trained
from pnol_jax.sharding.placement import WHOLE
from pnol_jax.training.optimizers import make_optimizer
from pnol_jax.training.step import Metrics, TrainState, fresh_state, make_step, state_from

Numbers = dict[str, jax.Array]  # fields of the optimiser's config by name, (lanes,) each
LaneStep = Callable[..., tuple[TrainState, Metrics]]


class Numbered(NamedTuple):
    """An optimiser's state with the numbers that it is made with."""

    numbers: Numbers
    inner: optax.OptState


def lane_states(posterior: Posterior, config: ExperimentConfig, numbers: Numbers, seeds: Sequence[int]) -> TrainState:
    """The states before the first step, each array with a leading axis of lanes; lane i starts with seed i."""
    of_seed = {seed: trained(posterior.initial(seed)) for seed in sorted(set(seeds))}
    params: Params = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(of_seed[seed] for seed in seeds))
    keys = jnp.stack([jax.random.key(seed) for seed in seeds])

    averaged, scaled = config.training.ema > 0, config.training.precision == "float16"

    def start(numbers: Numbers, params: Params, key: jax.Array) -> TrainState:
        return state_from(params, _optimizer(posterior, config, numbers), key, averaged, scaled)

    states: TrainState = jax.jit(jax.vmap(start))(numbers, params, keys)
    return states


def make_lane_step(posterior: Posterior, config: ExperimentConfig) -> LaneStep:
    """The compiled step of all lanes, `(states, constants, batch, grid[, limits]) -> (states, metrics)`.

    States, figures and limits have a leading axis of lanes; the old states are given up. A lane whose loss is not
    finite, or whose gradient's norm is above its limit, keeps its parameters and changes no other. To be made and used
    on one device.
    """
    settings = config.training
    optimizer, scaled = _optimizer(posterior, config, {}), settings.precision == "float16"
    like = jax.eval_shape(lambda: fresh_state(posterior, optimizer, settings.seed, settings.ema > 0, scaled))
    whole: Any = WHOLE  # on one device nothing is divided
    one = make_step(posterior, optimizer, settings.ema, settings.accumulate).plain(like, whole, whole, whole)
    lanes = jax.vmap(one, in_axes=(0, None, None, 0, 0))

    def step(
        states: TrainState, constants: Params, batch: Batch, grid: GridOperands, limits: Any = None
    ) -> tuple[TrainState, Metrics]:
        count = len(states.step)
        # A grid for each lane, as for the members of an ensemble: every transform stays a matrix product per lane.
        spread = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count, *leaf.shape)), grid)
        stepped: tuple[TrainState, Metrics] = lanes(states, constants, batch, spread, limits)
        return stepped

    return jax.jit(step, donate_argnums=0)


def lane(states: Any, number: int) -> Any:
    """One lane of a tree of arrays with a leading axis of lanes."""
    return jax.tree.map(lambda leaf: leaf[number], states)


def check_numbers(posterior: Posterior, config: ExperimentConfig, names: Sequence[str]) -> None:
    """Refuse what cannot differ between lanes because the program itself depends on it.

    Raises:
        InputError: a name of such a field of the optimiser.
    """
    params = jax.eval_shape(lambda: trained(posterior.initial(0)))

    def once(numbers: Numbers, params: Params) -> Any:
        optimizer = _optimizer(posterior, config, numbers)
        return optimizer.update(params, optimizer.init(params), params, value=jnp.zeros(()))

    kind = type(config.optimizer).__struct_config__.tag
    for name in names:
        refused = InputError(f"optimizer.{name} of {kind} makes another program, so lanes cannot differ in it")
        if not isinstance(getattr(config.optimizer, name), float):
            raise refused
        try:
            jax.eval_shape(once, {name: jnp.zeros(())}, params)
        except jax.errors.ConcretizationTypeError:
            raise refused from None


def _optimizer(
    posterior: Posterior, config: ExperimentConfig, numbers: Numbers
) -> optax.GradientTransformationExtraArgs:
    """The config's optimiser, made anew in every step with the numbers that its state holds; it begins with these."""

    def make(numbers: Numbers) -> optax.GradientTransformationExtraArgs:
        fields: dict[str, Any] = dict(numbers)
        return make_optimizer(replace(config.optimizer, **fields), config.training.steps, posterior.members)

    def update(updates: Params, state: Numbered, params: Params, **extra: Any) -> tuple[Params, Numbered]:
        changed, inner = make(state.numbers).update(updates, state.inner, params, **extra)
        return changed, Numbered(state.numbers, inner)

    return optax.GradientTransformationExtraArgs(lambda params: Numbered(numbers, make(numbers).init(params)), update)
