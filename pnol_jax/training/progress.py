"""What a person sees while training, and the same as one JSON line per logged step."""

import json
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import jax
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from pnol_jax.errors import InputError


class Log:
    """A progress bar, `log.jsonl`, TensorBoard event files if asked for; of several processes the first has them."""

    def __init__(self, folder: Path, steps: int, start: int, batch_size: int, *, tensorboard: bool) -> None:
        leads = jax.process_index() == 0
        self._file = (folder / "log.jsonl" if leads else Path(os.devnull)).open("a", encoding="utf-8")
        self._batch_size = batch_size
        self._last = (start, time.monotonic())
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            disable=not leads,
        )
        self._task = self._bar.add_task("training", total=steps, completed=start, figures="")
        self._events = _event_writer(folder) if tensorboard and leads else None

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._bar.stop()
        self._file.close()
        if self._events is not None:
            self._events.close()

    def advance(self, step: int) -> None:
        """Move the bar to a finished step."""
        self._bar.update(self._task, completed=step)

    def write(self, step: int, figures: dict[str, float]) -> None:
        """Show and keep the figures of a step, with the cases per second since the last ones."""
        now = time.monotonic()
        before, then = self._last
        rate = (step - before) * self._batch_size / max(now - then, 1e-9)
        self._last = (step, now)
        line = {"step": step, **figures, "cases_per_second": rate, "time": time.time()}
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        shown = f"loss {figures['loss']:.4g}  lr {figures['learning_rate']:.2g}  {rate:,.0f} cases/s"
        self._bar.update(self._task, completed=step, figures=shown)
        if self._events is not None:
            for name, value in line.items():
                self._events.add_scalar(name, value, step)


def _event_writer(folder: Path) -> Any:
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        raise InputError(
            "training.tensorboard: tensorboardX is not installed; pip install 'pnol-jax[tensorboard]'"
        ) from None
    return SummaryWriter(str(folder / "tensorboard"))
