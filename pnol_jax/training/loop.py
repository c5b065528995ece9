"""The training loop: draw a batch, take a step, look at it, save now and then."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from pnol_jax.bases import GridOperands
from pnol_jax.config import ExperimentConfig, TrainingConfig
from pnol_jax.posteriors import Batch, Params, Posterior
from pnol_jax.sharding.placement import BatchPlacement
from pnol_jax.training import closing
from pnol_jax.training.checkpoints import Checkpoints
from pnol_jax.training.goodput import Goodput
from pnol_jax.training.guard import Guard
from pnol_jax.training.interrupt import Interrupt
from pnol_jax.training.optimizers import learning_rate
from pnol_jax.training.prepare import program, start
from pnol_jax.training.progress import Log
from pnol_jax.training.recovery import Diverged, NotFinite, Positioned, Recovery
from pnol_jax.training.scaling import FLOOR
from pnol_jax.training.step import TrainState, not_finite
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
    guard = Guard(config.training)
    with _checkpoints(config.training, folder, config_digest) as checkpoints:
        recovery = Recovery(checkpoints, batches, guard, wait=config.training.checkpoint_wait)
        training = _Training(config, posterior, constants, batches, folder, guard, recovery, resume=resume)
        training.run(beat, watch, profiled)
    return training.state


def _checkpoints(settings: TrainingConfig, folder: Path, config_digest: str) -> Checkpoints:
    kept = {"keep": settings.keep_checkpoints, "best": settings.keep_best, "every": settings.keep_every}
    return Checkpoints(folder / "checkpoints", config_digest=config_digest, **kept)


class _Training:
    """One attempt at a run: the state, the compiled step, and those who look on."""

    def __init__(
        self,
        config: ExperimentConfig,
        posterior: Posterior,
        constants: Params,
        batches: Pipeline,
        folder: Path,
        guard: Guard,
        recovery: Recovery,
        *,
        resume: bool,
    ) -> None:
        self.settings, self.clock = config.training, Goodput(folder)
        self.config, self.posterior, self.constants, self.batches = config, posterior, constants, batches
        self.folder, self.guard, self.recovery = folder, guard, recovery
        self.bad = ""
        self.state = start(config, posterior)
        if resume:
            self.state = recovery.resume(self.state)
        self.done = self.begun = int(self.state.step)
        self.place = BatchPlacement(self.settings.batch_size)
        self.step, self.rate = program(config, posterior, guard.rate)
        self.clock.start(self.done, goes_on=resume)
        tensorboard = self.settings.tensorboard
        self.log = Log(folder, self.settings.steps, self.done, self.settings.batch_size, tensorboard=tensorboard)

    def run(
        self, beat: Callable[[int], None], watch: Callable[[int, TrainState], None], profiled: range | None
    ) -> None:
        """Take steps until all are done or a signal asks to stop."""
        settings, arguments = self.settings, None
        with self.log, Interrupt() as interrupt, self.clock, Trace(self.folder, profiled) as trace:
            self.recovery.report(self.log, self.done)
            while self.done < settings.steps and not interrupt.wanted(self.done):
                arguments = self._take_step(trace)
                beat(self.done)
                if self.guard.exhausted:
                    self._roll_back(*arguments)
                self.clock.lap("other")
                if self.done % settings.checkpoint_every == 0 or self._keeps(self.done):
                    self._saved(self.recovery.save)
                watch(self.done, self.state)
                self.clock.lap("other")
            self._saved(self.recovery.save_last)
            if arguments is not None:
                self._close(*arguments)
        if self.done < settings.steps or interrupt.told:
            raise Stopped(f"stopped at step {self.done} of {settings.steps}; the state is saved in {self.folder}")

    def _keeps(self, step: int) -> bool:
        """Whether the checkpoint of a step is one to keep, also between those at regular intervals."""
        return self.settings.keep_every > 0 and step % self.settings.keep_every == 0

    def _take_step(self, trace: Trace) -> tuple[Batch, GridOperands]:
        """Draw a batch, take a step on it, judge and log that; the batch and its grid."""
        drawn, place = next(self.batches), self.place
        batch, grid = Batch(place.field(drawn.inputs), place.field(drawn.outputs)), place.grid(drawn.grid)
        self.clock.lap("input")
        with trace.step(self.done):
            self.clock.lap("other")
            self.state, metrics = self.step(self.state, self.constants, batch, grid, *self.guard.limit)
            figures = {name: float(value) for name, value in metrics.items()}
        self.done += 1
        self.clock.lap("step")
        self._judge(figures)
        return batch, grid

    def _judge(self, figures: dict[str, float]) -> None:
        done, guard = self.done, self.guard
        bad = guard.judge(done, figures["loss"], figures["gradient_norm"], figures.get("loss_scale", FLOOR))
        self.log.advance(done)
        if bad:
            self.bad = str(bad)
            self.log.fault(done, "skipped", f"{bad}: left out ({guard.count})")
            self.clock.skip()
        elif done % self.settings.log_every == 0 or done == self.settings.steps:
            rate = learning_rate(self.rate, self.state.optimizer, done - 1 - guard.skipped)
            self.log.write(done, figures | {"learning_rate": rate})

    def _roll_back(self, batch: Batch, grid: GridOperands) -> None:
        """Go to the last good state, with a smaller learning rate."""
        done, guard = self.done, self.guard
        name = not_finite(self.posterior, self.state, self.constants, batch, grid) if guard.blind else ""
        self.state = self.recovery.roll_back(self.state, done, name or self.bad, self.folder)
        self.step, self.rate = program(self.config, self.posterior, guard.rate)
        self.done = int(self.state.step)
        self.recovery.report(self.log, done)
        self.log.fault(done, "rollback", f"back to step {self.done}, learning rate times {guard.rate:g}")
        self.clock.lose(done - self.done)

    def _saved(self, save: Callable[[TrainState, Log], None]) -> None:
        save(self.state, self.log)
        self.clock.lap("checkpoint")
        self.clock.write(self.done)

    def _close(self, batch: Batch, grid: GridOperands) -> None:
        """Say what a step was and where the time went."""
        arguments = (self.state, self.constants, batch, grid, *self.guard.limit)
        figures = closing.figures(self.step, arguments, self.clock.step_seconds, self.settings)
        self.clock.lap("other")
        self.clock.write(self.done, **figures)
        self.log.show(closing.table(self.clock, figures))
