"""What a config makes of a posterior: the state before the first step, the compiled step and its schedule."""

import optax
from msgspec.structs import replace

from pnol_jax.config import ExperimentConfig
from pnol_jax.optimizer_config import OptimizerConfig
from pnol_jax.posteriors import Posterior
from pnol_jax.training.optimizers import make_optimizer, schedule
from pnol_jax.training.step import Step, TrainState, initial_state, make_step


def start(config: ExperimentConfig, posterior: Posterior) -> TrainState:
    """The state before the first step, where it is kept."""
    settings = config.training
    return initial_state(
        posterior,
        _optimizer(config, posterior, 1.0),
        settings.seed,
        averaged=settings.ema > 0,
        scaled=settings.precision == "float16",
        offload=settings.offload == "optimizer",
    )


def _optimizer(config: ExperimentConfig, posterior: Posterior, factor: float) -> optax.GradientTransformationExtraArgs:
    return make_optimizer(_slower(config, factor), config.training.steps, posterior.members)


def program(config: ExperimentConfig, posterior: Posterior, factor: float) -> tuple[Step, optax.Schedule]:
    """The compiled step and the schedule, the learning rate times a factor."""
    settings = config.training
    step = make_step(posterior, _optimizer(config, posterior, factor), settings.ema, settings.accumulate)
    return step, schedule(_slower(config, factor), settings.steps)


def _slower(config: ExperimentConfig, factor: float) -> OptimizerConfig:
    return replace(config.optimizer, learning_rate=factor * config.optimizer.learning_rate)
