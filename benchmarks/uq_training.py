"""Training at equal cost: how many steps a posterior gets, so that its wall time is the allowed multiple of the base's.

The base is the deterministic posterior, trained for the steps of the problem's config. A posterior's step is timed on
its real batches once it is compiled; what compiling took, and the descent that SWAG's `fit` goes on with, are taken off
its allowance.
"""

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from experiments.experiment import Experiment, with_training
from experiments.train import fitted
from pnol_jax.posterior_config import SWAGConfig
from pnol_jax.posteriors import Batch, Params
from pnol_jax.training.loop import train
from pnol_jax.training.optimizers import make_optimizer
from pnol_jax.training.step import initial_state, make_step

BASE = "deterministic"
MOST = 3.0
# Multiples of the base's wall time. Those whose training is the base's own get as much; those that train other or
# several operators, or by noisier losses, up to three times that.
SHARES: Mapping[str, float] = {
    "deterministic": 1.0,
    "beta_nll": 1.0,
    "coloured": MOST,
    "laplace": 0.7,  # its `fit` and its passes over the gradients come on top
    "heads": 1.5,
    "quantile": 1.5,
    "swag": 2.0,
    "dropout": 2.0,
    "variational": 2.0,
    "ensemble": MOST,
    "multi_swag": MOST,
    "pno": MOST,
    "pno_dropout": MOST,
    "flow": MOST,
}
MARGIN = 0.9  # of the allowance: steps of a whole run take a little longer than those that were timed
LEAST = 50
WARM, TIMED = 3, 15  # steps


class Cost(NamedTuple):
    """Seconds to compile a training step, and of each step after that."""

    compiling: float
    step: float


class Trained(NamedTuple):
    """What came of training, and its wall time: that of training, compiling included, and that of `fit`."""

    params: Params
    steps: int
    training_seconds: float
    fit_seconds: float


def steps_for(allowed: float, cost: Cost, others: float = 0.0) -> int:
    """How many steps fit into the allowed seconds beside compiling and `others`, seconds that are spent elsewhere."""
    left = MARGIN * allowed - cost.compiling - others
    return max(LEAST, int(left / cost.step))


def equal_cost(posterior: str, experiment: Experiment, base_seconds: float | None) -> Experiment:
    """The experiment with as many steps as the posterior's share of the base's seconds pays for.

    Without those, of the base itself, the config's steps stand; it is timed too, so that what a process does once is
    not counted as the base's.
    """
    cost, settings = measured(experiment), experiment.config.posterior
    if base_seconds is None:
        return experiment
    after = cost.compiling + settings.steps * cost.step if isinstance(settings, SWAGConfig) else 0.0
    steps = steps_for(SHARES[posterior] * base_seconds, cost, after)
    return with_training(experiment, {"steps": steps})


def measured(experiment: Experiment) -> Cost:
    """The cost of this experiment's training steps, batches included."""
    config, constants = experiment.config, experiment.constants()
    optimizer = make_optimizer(config.optimizer, config.training.steps, experiment.posterior.members)
    state = initial_state(experiment.posterior, optimizer, config.training.seed, config.training.ema > 0)
    step, batches, seconds = make_step(experiment.posterior, optimizer, config.training.ema), experiment.batches(), []
    for _ in range(1 + WARM + TIMED):
        began = time.perf_counter()
        drawn = next(batches)
        state, metrics = step(state, constants, Batch(drawn.inputs, drawn.outputs), drawn.grid)
        float(metrics["loss"])
        seconds.append(time.perf_counter() - began)
    batches.close()
    return Cost(seconds[0], float(np.median(seconds[1 + WARM :])))


def trained(experiment: Experiment) -> Trained:
    """Train and fit, timed; without checkpoints but the last."""
    experiment = with_training(experiment, {"checkpoint_every": experiment.config.training.steps})
    config, constants = experiment.config, experiment.constants()
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        batches = experiment.batches()
        state = train(config, experiment.digest, experiment.posterior, constants, batches, Path(folder), resume=False)
    between = time.perf_counter()
    params = jax.block_until_ready(fitted(experiment, state, constants))
    return Trained(params, config.training.steps, between - began, time.perf_counter() - between)
