"""Lanes of one program: each is the training that it would be alone."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from msgspec.structs import replace

from pnol_jax.bases import Basis, make_operands
from pnol_jax.config import DataConfig, ExperimentConfig, FNOConfig, TrainingConfig
from pnol_jax.errors import InputError
from pnol_jax.grids import Axis, Grid
from pnol_jax.operators import build_operator, functional
from pnol_jax.optimizer_config import (
    AdafactorConfig,
    AdamWConfig,
    ExponentialConfig,
    MuonConfig,
    OptimizerConfig,
    PlateauConfig,
    ScheduleFreeAdamWConfig,
    SGDConfig,
)
from pnol_jax.posterior_config import DeterministicConfig, EnsembleConfig
from pnol_jax.posteriors import Batch, Posterior, build_posterior
from pnol_jax.training.lanes import check_numbers, lane, lane_states, make_lane_step
from pnol_jax.training.optimizers import make_optimizer
from pnol_jax.training.step import TrainState, initial_state, make_step

ONE = DeterministicConfig()
STEPS, N = 12, 12
GRID = Grid((Axis.uniform(N, "periodic", 1.0),))
BASES = (Basis("fourier", 3),)
CONSTANTS = {
    f"normaliser.{field}.{moment}": jnp.full((1,), value)
    for field in ("inputs", "outputs")
    for moment, value in (("mean", 0.0), ("std", 1.0))
}


def _config(optimizer: OptimizerConfig, posterior: Any = ONE) -> ExperimentConfig:
    return ExperimentConfig(
        name="lanes",
        data=DataConfig(train=[], inputs=["a"], outputs=["u"], axes=[]),
        operator=FNOConfig(modes=[3]),
        posterior=posterior,
        optimizer=optimizer,
        training=TrainingConfig(steps=STEPS, batch_size=4, ema=0.9),
    )


def _posterior(config: ExperimentConfig) -> Posterior:
    def build(channels: int, seed: int | None) -> Any:
        def module() -> nnx.Module:
            return build_operator("fno", 1, channels, BASES, {"width": 4, "depth": 1}, nnx.Rngs(seed or 0))

        return functional(module() if seed is not None else nnx.eval_shape(module))

    return build_posterior(config.posterior, config.training, build, 1)


def _batches() -> list[Batch]:
    rng = np.random.default_rng(0)
    x = 2 * np.pi * np.arange(N) / N
    inputs = [rng.standard_normal((4, 1, 1)) * np.sin(x + rng.uniform(0, 6, (4, 1)))[..., None] for _ in range(STEPS)]
    return [Batch(jnp.asarray(a, jnp.float32), jnp.asarray(0.3 * a + 0.1, jnp.float32)) for a in inputs]


def _alone(config: ExperimentConfig, posterior: Posterior) -> tuple[TrainState, list[float]]:
    optimizer = make_optimizer(config.optimizer, STEPS, posterior.members)
    state = initial_state(posterior, optimizer, config.training.seed, averaged=True)
    step = make_step(posterior, optimizer, config.training.ema)
    losses = []
    for batch in _batches():
        state, metrics = step(state, CONSTANTS, batch, make_operands(GRID, BASES))
        losses.append(float(metrics["loss"]))
    return state, losses


def _together(
    config: ExperimentConfig, posterior: Posterior, numbers: dict[str, list[float]], seeds: list[int]
) -> tuple[TrainState, np.ndarray]:
    arrays = {name: jnp.asarray(values) for name, values in numbers.items()}
    states, step = lane_states(posterior, config, arrays, seeds), make_lane_step(posterior, config)
    losses = []
    for batch in _batches():
        states, metrics = step(states, CONSTANTS, batch, make_operands(GRID, BASES))
        losses.append(np.asarray(metrics["loss"]))
    return states, np.stack(losses, axis=1)


OPTIMIZERS = {
    "adamw": (AdamWConfig(warmup_steps=3), {"learning_rate": [1e-3, 1e-2], "weight_decay": [1e-4, 1e-1]}),
    "exponential": (AdamWConfig(warmup_steps=0, schedule=[ExponentialConfig()]), {"learning_rate": [1e-3, 1e-2]}),
    "plateau": (
        AdamWConfig(warmup_steps=0, schedule=[PlateauConfig(window=1, patience=1, threshold=1.0)]),
        {"learning_rate": [1e-3, 1e-2]},
    ),
    "sgd": (SGDConfig(warmup_steps=0), {"learning_rate": [1e-3, 1e-2], "momentum": [0.5, 0.9]}),
    "muon": (MuonConfig(warmup_steps=0), {"learning_rate": [1e-3, 1e-2], "weight_decay": [1e-4, 1e-1]}),
    "schedule_free_adamw": (ScheduleFreeAdamWConfig(warmup_steps=3), {"learning_rate": [1e-3, 1e-2]}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_each_lane_is_the_training_that_it_would_be_alone(name):
    optimizer, numbers = OPTIMIZERS[name]
    config, seeds = _config(optimizer), [0, 3]
    posterior = _posterior(config)
    states, losses = _together(config, posterior, numbers, seeds)
    assert not np.allclose(losses[0], losses[1], rtol=1e-3)
    own = replace(optimizer, **{field: values[1] for field, values in numbers.items()})
    alone = replace(config, optimizer=own, training=replace(config.training, seed=seeds[1]))
    state, expected = _alone(alone, posterior)
    np.testing.assert_allclose(losses[1], expected, rtol=1e-5)
    mine = lane(states, 1)
    for tree, other in ((mine.params, state.params), (mine.average, state.average)):
        for key, value in other.items():
            np.testing.assert_allclose(tree[key], value, rtol=1e-4, atol=1e-5 * float(jnp.max(jnp.abs(value))))


def test_a_lane_of_an_ensemble_is_that_ensemble():
    config = _config(AdamWConfig(warmup_steps=0), EnsembleConfig(members=2))
    posterior = _posterior(config)
    _, losses = _together(config, posterior, {"learning_rate": [1e-3, 1e-2]}, [5, 5])
    own = replace(config.optimizer, learning_rate=1e-2)
    _, alone = _alone(replace(config, optimizer=own, training=replace(config.training, seed=5)), posterior)
    np.testing.assert_allclose(losses[1], alone, rtol=1e-5)


def test_a_lane_that_diverges_changes_no_other_and_keeps_its_last_finite_parameters():
    config = _config(SGDConfig(warmup_steps=0, clip_norm=0.0))
    posterior = _posterior(config)
    calm, _ = _together(config, posterior, {"learning_rate": [1e-3, 1e-3]}, [0, 0])
    wild, losses = _together(config, posterior, {"learning_rate": [1e-3, 1e30]}, [0, 0])
    assert not np.isfinite(losses[1]).all()
    assert all(np.isfinite(value).all() for value in lane(wild, 1).params.values())
    for one, other in zip(jax.tree.leaves(lane(calm, 0).params), jax.tree.leaves(lane(wild, 0).params), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("optimizer", "name"), [(AdafactorConfig(), "momentum"), (AdamWConfig(), "clip_norm"), (MuonConfig(), "ns_steps")]
)
def test_a_number_that_makes_another_program_is_refused(optimizer, name):
    config = _config(optimizer)
    with pytest.raises(InputError, match=rf"optimizer.{name} of .* makes another program"):
        check_numbers(_posterior(config), config, ["learning_rate", name])
