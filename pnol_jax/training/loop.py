"""The training loop: draw a batch, take a step, look at it, save now and then."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import jax
import numpy as np

from pnol_jax.config import ExperimentConfig
from pnol_jax.errors import InputError
from pnol_jax.posteriors import Batch, Params, Posterior
from pnol_jax.sharding.placement import BatchPlacement
from pnol_jax.training.checkpoints import Checkpoints
from pnol_jax.training.interrupt import Interrupt
from pnol_jax.training.optimizers import learning_rate, make_optimizer, schedule
from pnol_jax.training.progress import Log
from pnol_jax.training.step import TrainState, initial_state, make_step, not_finite


class Pipeline(Protocol):
    """Endless batches, and where in them we are."""

    def __iter__(self) -> Iterator[Any]: ...
    def __next__(self) -> Any: ...

    def get_state(self) -> dict[str, Any]:
        """The position, before the next batch is drawn."""
        ...

    def set_state(self, state: dict[str, Any]) -> None:
        """Go to a position."""
        ...


class Stopped(Exception):
    """A signal asked training to stop; the state is saved."""


class NotFinite(InputError):
    """The loss or its gradient is no longer a number."""


def train(
    config: ExperimentConfig,
    config_digest: str,
    posterior: Posterior,
    constants: Params,
    batches: Pipeline,
    folder: Path,
    *,
    resume: bool,
    beat: Callable[[int], None] = lambda _: None,
    watch: Callable[[int, TrainState], None] = lambda *_: None,
) -> TrainState:
    """Train for `config.training.steps` steps in total, in `folder`; the state after the last one.

    `beat` hears of every step that is done; `watch` sees the state after it, which the next step gives up, and what it
    raises ends training.

    Raises:
        Stopped: SIGTERM or SIGINT came; a checkpoint was saved.
        NotFinite: a loss was not finite; the message names the step, the tensor and the last good checkpoint.
        InputError: nothing to resume from, or it is of another config.
    """
    settings = config.training
    optimizer = make_optimizer(config.optimizer, settings.steps, posterior.members)
    state = initial_state(posterior, optimizer, settings.seed, settings.ema > 0)
    checkpoints = Checkpoints(folder / "checkpoints", settings.keep_checkpoints, config_digest)
    if resume:
        state, position = checkpoints.restore(state)
        batches.set_state(position)
    place = BatchPlacement(settings.batch_size)
    step = make_step(posterior, optimizer, settings.ema, settings.accumulate)
    rate = schedule(config.optimizer, settings.steps)
    done = int(state.step)
    log = Log(folder, settings.steps, done, settings.batch_size, tensorboard=settings.tensorboard)
    try:
        with log, Interrupt() as interrupt:
            while done < settings.steps and not interrupt.wanted(done):
                drawn = next(batches)
                batch, grid = Batch(place.field(drawn.inputs), place.field(drawn.outputs)), place.grid(drawn.grid)
                state, metrics = step(state, constants, batch, grid)
                done += 1
                if not np.isfinite(metrics["loss"]) or not np.isfinite(metrics["gradient_norm"]):
                    name = not_finite(posterior, state, constants, batch, grid)
                    raise NotFinite(_not_finite_message(done, name, checkpoints.latest(), folder))
                beat(done)
                log.advance(done)
                if done % settings.log_every == 0 or done == settings.steps:
                    log.write(done, _figures(metrics, learning_rate(rate, state.optimizer, done - 1)))
                if done % settings.checkpoint_every == 0:
                    checkpoints.save(state, batches.get_state())
                watch(done, state)
        checkpoints.save(state, batches.get_state())
        if done < settings.steps:
            raise Stopped(f"stopped at step {done} of {settings.steps}; the state is saved in {folder}")
    finally:
        checkpoints.close()
    return state


def _figures(metrics: dict[str, jax.Array], rate: float) -> dict[str, float]:
    return {name: float(value) for name, value in metrics.items()} | {"learning_rate": rate}


def _not_finite_message(step: int, name: str, saved: int | None, folder: Path) -> str:
    good = f"the last good checkpoint is of step {saved} in {folder}" if saved else "there is no checkpoint yet"
    return f"step {step}: {name} is not finite; {good}. A smaller optimizer.learning_rate may help"
