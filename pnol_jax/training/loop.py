"""The training loop: draw a batch, take a step, look at it, save now and then."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import jax
import optax
from msgspec.structs import replace

from pnol_jax.config import ExperimentConfig
from pnol_jax.optimizer_config import OptimizerConfig
from pnol_jax.posteriors import Batch, Params, Posterior
from pnol_jax.sharding.placement import BatchPlacement
from pnol_jax.training import closing
from pnol_jax.training.checkpoints import Checkpoints
from pnol_jax.training.goodput import Goodput
from pnol_jax.training.guard import Guard
from pnol_jax.training.interrupt import Interrupt
from pnol_jax.training.optimizers import learning_rate, make_optimizer, schedule
from pnol_jax.training.progress import Log
from pnol_jax.training.recovery import Diverged, NotFinite, Positioned, Recovery
from pnol_jax.training.scaling import FLOOR
from pnol_jax.training.step import Step, TrainState, initial_state, make_step, not_finite
from pnol_jax.training.trace import Trace

__all__ = ["Diverged", "NotFinite", "Stopped", "train"]


class Pipeline(Positioned, Protocol):
    """Endless batches, and where in them we are; the position is taken before the next batch is drawn."""

    def __iter__(self) -> Iterator[Any]: ...
    def __next__(self) -> Any: ...


class Stopped(Exception):
    """A signal asked training to stop; the state is saved."""


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
    profiled: range | None = None,
) -> TrainState:
    """Train for `config.training.steps` steps in total, in `folder`; the state after the last one.

    Bad steps (`pnol_jax.training.guard`) are left out. Where there are more than `max_bad_steps` of them within
    `bad_window`, the state goes back to the last checkpoint before them and the learning rate falls; the data goes on
    with the batches after the bad ones. `beat` hears of every step that is done; `watch` sees the state after it,
    which the next step gives up, and what it raises ends training; `profiled` steps are traced.

    Raises:
        Stopped: SIGTERM or SIGINT came; a checkpoint was saved.
        Diverged: too many bad steps and no way back; NotFinite where they are not finite. The message names the step,
            the tensor and the last good checkpoint.
        SaveFailed: a checkpoint could not be written, and it is the last one or there is none before it.
        InputError: nothing to resume from, or it is of another config.
    """
    settings, clock = config.training, Goodput(folder)
    guard = Guard(settings)
    kept = {"keep": settings.keep_checkpoints, "best": settings.keep_best, "every": settings.keep_every}
    checkpoints = Checkpoints(folder / "checkpoints", config_digest=config_digest, **kept)
    recovery = Recovery(checkpoints, batches, guard)
    state = _start(config, posterior)
    if resume:
        state = recovery.resume(state)
    step, rate = _program(config, posterior, guard.rate)
    place = BatchPlacement(settings.batch_size)
    begun = done = int(state.step)
    log = Log(folder, settings.steps, done, settings.batch_size, tensorboard=settings.tensorboard)
    clock.start(done, goes_on=resume)
    try:
        with log, Interrupt() as interrupt, clock, Trace(folder, profiled) as trace:
            recovery.report(log, done)
            while done < settings.steps and not interrupt.wanted(done):
                drawn = next(batches)
                batch, grid = Batch(place.field(drawn.inputs), place.field(drawn.outputs)), place.grid(drawn.grid)
                clock.lap("input")
                with trace.step(done):
                    clock.lap("other")
                    state, metrics = step(state, constants, batch, grid, *guard.limit)
                    loss, norm = float(metrics["loss"]), float(metrics["gradient_norm"])
                done += 1
                clock.lap("step")
                bad = guard.judge(done, loss, norm, float(metrics.get("loss_scale", FLOOR)))
                beat(done)
                log.advance(done)
                if bad:
                    log.fault(done, "skipped", f"{bad}: left out ({guard.count})")
                    clock.skip()
                elif done % settings.log_every == 0 or done == settings.steps:
                    log.write(done, _figures(metrics, learning_rate(rate, state.optimizer, done - 1 - guard.skipped)))
                if guard.exhausted:
                    name = not_finite(posterior, state, constants, batch, grid) if guard.blind else ""
                    state = recovery.roll_back(state, done, name or str(bad), folder)
                    step, rate = _program(config, posterior, guard.rate)
                    recovery.report(log, done)
                    log.fault(done, "rollback", f"back to step {int(state.step)}, learning rate times {guard.rate:g}")
                    clock.lose(done - int(state.step))
                    done = int(state.step)
                clock.lap("other")
                if done % settings.checkpoint_every == 0:
                    recovery.save(state, log)
                    clock.lap("checkpoint")
                    clock.write(done)
                watch(done, state)
                clock.lap("other")
            recovery.save_last(state, log)
            clock.lap("checkpoint")
            clock.write(done)
            if done > begun:
                arguments = (state, constants, batch, grid, *guard.limit)
                figures = closing.figures(step, arguments, clock.step_seconds, settings)
                clock.write(done, **figures)
                log.show(closing.table(clock, figures))
        if done < settings.steps or interrupt.told:
            raise Stopped(f"stopped at step {done} of {settings.steps}; the state is saved in {folder}")
    finally:
        checkpoints.close()
    return state


def _start(config: ExperimentConfig, posterior: Posterior) -> TrainState:
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


def _program(config: ExperimentConfig, posterior: Posterior, factor: float) -> tuple[Step, optax.Schedule]:
    """The compiled step and the schedule, the learning rate times a factor."""
    settings = config.training
    step = make_step(posterior, _optimizer(config, posterior, factor), settings.ema, settings.accumulate)
    return step, schedule(_slower(config, factor), settings.steps)


def _slower(config: ExperimentConfig, factor: float) -> OptimizerConfig:
    return replace(config.optimizer, learning_rate=factor * config.optimizer.learning_rate)


def _figures(metrics: dict[str, jax.Array], rate: float) -> dict[str, float]:
    return {name: float(value) for name, value in metrics.items()} | {"learning_rate": rate}
