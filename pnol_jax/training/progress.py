"""What a person sees while training, and the same as JSON lines: of each logged step, and of each fault."""

import json
import math
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import jax
from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from pnol_jax.errors import InputError
from pnol_jax.files import LineFile

FAULTS = "faults.jsonl"
EVERY = 60  # seconds between lines where there is no terminal

Fault = Literal["skipped", "rollback", "checkpoint"]


class Log:
    """A progress bar, `log.jsonl`, `faults.jsonl`, TensorBoard event files if asked for.

    Where there is no terminal, a line a minute and that of the last step are printed in place of the bar. Of several
    processes the first has them. Lines wait where the disk is full.
    """

    def __init__(self, folder: Path, steps: int, start: int, batch_size: int, *, tensorboard: bool) -> None:
        leads = jax.process_index() == 0
        self._lines, self._faults = (LineFile(folder / name if leads else os.devnull) for name in ("log.jsonl", FAULTS))
        self._batch_size = batch_size
        self._last = (start, time.monotonic())
        self._steps, self._told = steps, -math.inf
        console = Console(quiet=not leads, soft_wrap=True)
        self._bar = Progress(
            BarColumn(bar_width=10),  # a terminal of 80 columns has room for the rest
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            disable=not leads or not console.is_terminal,  # else it prints its last state after all else
        )
        self._task = self._bar.add_task("training", total=steps, completed=start, figures="")
        self._events = _event_writer(folder) if tensorboard and leads else None

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._bar.stop()
        self._lines.close()
        self._faults.close()
        if self._events is not None:
            self._events.close()

    def advance(self, step: int) -> None:
        """Move the bar to a finished step."""
        if step < self._last[0]:  # rolled back
            self._last = (step, time.monotonic())
        self._bar.update(self._task, completed=step)

    def write(self, step: int, figures: dict[str, float]) -> None:
        """Show and keep the figures of a step, with the cases per second since the last ones."""
        now = time.monotonic()
        before, then = self._last
        rate = (step - before) * self._batch_size / max(now - then, 1e-9)
        self._last = (step, now)
        line = {"step": step, **figures, "cases_per_second": rate, "time": time.time()}
        self._lines.add(json.dumps(line))
        shown = f"loss {figures['loss']:.4g}  lr {figures['learning_rate']:.2g}  {rate:,.0f} cases/s"
        self._bar.update(self._task, completed=step, figures=shown)
        if not self._bar.console.is_terminal and (now - self._told >= EVERY or step == self._steps):
            self._told = now
            self.show(f"step {step} of {self._steps}  {shown}")
        if self._events is not None:
            for name, value in line.items():
                self._events.add_scalar(name, value, step)

    def fault(self, step: int, kind: Fault, sentence: str) -> None:
        """Say that something went wrong at a step and what is done about it, and keep it."""
        self._faults.add(json.dumps({"step": step, "fault": kind, "said": sentence, "time": time.time()}))
        self.show(f"step {step}: {sentence}")

    def show(self, what: RenderableType) -> None:
        """Print something above the bar."""
        self._bar.console.print(what, highlight=False)


def _event_writer(folder: Path) -> Any:
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        raise InputError(
            "training.tensorboard: tensorboardX is not installed; pip install 'pnol-jax[tensorboard]'"
        ) from None
    return SummaryWriter(str(folder / "tensorboard"))
