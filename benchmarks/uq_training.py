"""Training at equal cost: how many steps a posterior gets, so that its wall time is the allowed multiple of the base's.

The base is the deterministic posterior, trained for the steps of the problem's config. What a training step costs is
measured in turns with steps of the base, on real batches, once both are compiled: hours lie between the first row and
the last, and a machine is not always as fast. From it follow how many steps a posterior gets, what compiling took and
the descent that SWAG's `fit` goes on with taken off; and, timed again after training, what all of it cost.
"""

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Self

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
# Multiples of the base's wall time, in the order in which posteriors are named and drawn. Those whose training is the
# base's own get as much; those that train other or several operators, or by noisier losses, up to three times that.
SHARES: Mapping[str, float] = {
    "deterministic": 1.0,
    "beta_nll": 1.0,
    "coloured": MOST,
    "ensemble": MOST,
    "heads": MOST,
    "dropout": 2.0,
    "laplace": 0.7,  # its `fit` and its passes over the gradients come on top
    "swag": 2.0,
    "multi_swag": MOST,
    "variational": 2.0,
    "pno": MOST,
    "pno_dropout": MOST,
    "quantile": 1.5,
    "flow": MOST,
    "student": 1.0,
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


class Clock:
    """Training steps of an experiment, batches included, to be timed again and again."""

    def __init__(self, experiment: Experiment) -> None:
        config = experiment.config
        optimizer = make_optimizer(config.optimizer, config.training.steps, experiment.posterior.members)
        self._state = initial_state(experiment.posterior, optimizer, config.training.seed, config.training.ema > 0)
        self._step = make_step(experiment.posterior, optimizer, config.training.ema)
        self._constants, self._batches = experiment.constants(), experiment.batches()
        self.compiling = self.step()

    def step(self) -> float:
        """What a step takes, in seconds."""
        began = time.perf_counter()
        drawn = next(self._batches)
        batch = Batch(drawn.inputs, drawn.outputs)
        self._state, metrics = self._step(self._state, self._constants, batch, drawn.grid)
        float(metrics["loss"])
        return time.perf_counter() - began

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of the batches."""
        self._batches.close()


class Base(NamedTuple):
    """The deterministic run, whose time is the others' measure."""

    clock: Clock
    steps: int
    fit_seconds: float

    def seconds(self, step: float) -> float:
        """Of all its training where a step takes so long."""
        return self.clock.compiling + self.steps * step + self.fit_seconds


class Pace(NamedTuple):
    """Seconds of a step, and of the base's, taken in turns."""

    step: float
    base: float


def paced(clock: Clock, base: Clock) -> Pace:
    """Medians over steps in turns, so that both meet the same machine; of the base itself, twice the same."""
    pairs = [(clock.step(), base.step()) for _ in range(WARM + TIMED)][WARM:]
    step, base_step = map(float, np.median(pairs, axis=0))
    return Pace(base_step if clock is base else step, base_step)


def training_cost(clock: Clock, steps: int, fit_seconds: float, base: Base, pace: Pace) -> float:
    """Of so many steps and a `fit`, in multiples of what the base's take."""
    return (clock.compiling + steps * pace.step + fit_seconds) / base.seconds(pace.base)


def equal_cost(posterior: str, experiment: Experiment, clock: Clock, base: Base) -> Experiment:
    """The experiment with as many steps as the posterior's share of the base's time pays for."""
    settings, pace = experiment.config.posterior, paced(clock, base.clock)
    after = clock.compiling + settings.steps * pace.step if isinstance(settings, SWAGConfig) else 0.0
    allowed = SHARES[posterior] * base.seconds(pace.base)
    return with_training(experiment, {"steps": steps_for(allowed, Cost(clock.compiling, pace.step), after)})


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
