"""Saving and going back: what a checkpoint holds besides the training state, after a loss and after bad steps."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import jax

from pnol_jax.errors import InputError
from pnol_jax.training.checkpoints import Checkpoints
from pnol_jax.training.guard import Guard
from pnol_jax.training.progress import Log
from pnol_jax.training.step import TrainState
from pnol_jax.training.storage import SaveFailed


class Diverged(InputError):
    """Too many steps had to be left out, and there is no rollback left or nothing to go back to."""


class NotFinite(Diverged):
    """The same, the last of them as its loss or gradient was not finite."""


class Positioned(Protocol):
    """Something with a position as plain data, such as the data iterator."""

    def get_state(self) -> dict[str, Any]:
        """The position."""
        ...

    def set_state(self, state: dict[str, Any]) -> None:
        """Go to a position."""
        ...


class Recovery:
    """The checkpoints of a run, with the data's position and the guard's counts in each.

    A save that fails is said and tried again at the next interval, if there is a whole checkpoint to fall back on.

    Args:
        wait: until a checkpoint is on the disk, rather than training on while it is being written.
    """

    def __init__(self, checkpoints: Checkpoints, batches: Positioned, guard: Guard, *, wait: bool = False) -> None:
        self._checkpoints, self._batches, self._guard, self._wait = checkpoints, batches, guard, wait
        self._said = 0

    def resume(self, like: TrainState) -> TrainState:
        """The state of the last whole checkpoint; `like` itself where nothing was saved before the run was stopped.

        Raises:
            InputError: none is whole, or it is of another config.
        """
        if not self._checkpoints.begun():
            return like
        state, position = self._checkpoints.restore(like)
        self._batches.set_state(position["batches"])
        self._guard.set_state(position["guard"])
        return state

    def save(self, state: TrainState, log: Log) -> None:
        """Begin to save, and wait for the end if that is wanted.

        A failure of this save or of the one before is said in the log, if it can be borne.

        Raises:
            SaveFailed: it cannot: there is no checkpoint before it, or other processes wait for this one.
        """
        self._bear(int(state.step), log, lambda: self._save(state))
        if self._wait:
            self._bear(int(state.step), log, self._checkpoints.finish)

    def save_last(self, state: TrainState, log: Log) -> None:
        """Save, and wait until it is on the disk.

        Raises:
            SaveFailed: it could not be written.
        """
        self._bear(int(state.step), log, self._checkpoints.finish)
        self._save(state)
        self._checkpoints.finish()

    def _save(self, state: TrainState) -> None:
        position = {"batches": self._batches.get_state(), "guard": self._guard.get_state()}
        self._checkpoints.save(state, position, self._guard.mean_loss())

    def _bear(self, step: int, log: Log, act: Callable[[], None]) -> None:
        try:
            act()
        except SaveFailed as failed:
            if jax.process_count() > 1 or self._checkpoints.latest() is None:
                raise
            log.fault(step, "checkpoint", f"{failed}; training goes on, the next one is tried as usual")

    def roll_back(self, state: TrainState, step: int, what: str, folder: Path) -> TrainState:
        """The state of the last whole checkpoint before the bad steps; from here on the learning rate is smaller.

        The data's position stays, so that what comes next are the batches after the bad ones.

        Args:
            state: that of now, for its shapes and places.
            step: the last bad step.
            what: is wrong with it: a tensor's name where that is not finite, a sentence for a spike.
            folder: the run's.

        Raises:
            Diverged: no rollback is left, or there is nothing to go back to.
        """
        saved = self._checkpoints.latest(before=self._guard.first)
        if self._guard.spent or saved is None:
            good = f"the last good checkpoint is of step {saved} in {folder}" if saved else "there is no checkpoint yet"
            kind, found = (NotFinite, f"{what} is not finite") if self._guard.blind else (Diverged, what)
            advice = f"({self._guard.count}). A smaller optimizer.learning_rate may help"
            raise kind(f"step {step}: {found}; {good} {advice}")
        restored, position = self._checkpoints.restore(state, before=self._guard.first)
        self._guard.roll_back(position["guard"])
        return restored

    def report(self, log: Log, step: int) -> None:
        """Say what was found wrong with checkpoints, and which one is used instead."""
        found, self._said = self._checkpoints.found[self._said :], len(self._checkpoints.found)
        for sentence in found:
            log.fault(step, "checkpoint", f"{sentence}; that of step {self._checkpoints.latest()} is used")
