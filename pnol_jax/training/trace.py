"""A trace of chosen steps, as xprof and TensorBoard's profile plugin read it: FOLDER/profile/plugins/profile/*."""

import contextlib
from pathlib import Path
from typing import Self

import jax

from pnol_jax.errors import InputError

FOLDER = "profile"


def step_range(text: str) -> range:
    """`START:STOP`, the steps from START up to, but not including, STOP.

    Raises:
        InputError: anything else.
    """
    first, colon, last = text.partition(":")
    if not (colon and first.isdecimal() and last.isdecimal() and int(first) < int(last)):
        raise InputError(f"--profile: got {text!r}, expected START:STOP, such as 20:25")
    return range(int(first), int(last))


class Trace:
    """Traces the given steps of this process, if it is the first of the run; as a context it ends with what it has."""

    def __init__(self, folder: Path, steps: range | None) -> None:
        self._folder = folder / FOLDER
        self._steps = steps if steps and jax.process_index() == 0 else range(0)
        self._runs = False

    def step(self, number: int) -> contextlib.AbstractContextManager[object]:
        """To be entered around step `number`."""
        if number in self._steps and not self._runs:
            jax.profiler.start_trace(str(self._folder))
            self._runs = True
        elif number not in self._steps:
            self._stop()
        return jax.profiler.StepTraceAnnotation("train", step_num=number) if self._runs else contextlib.nullcontext()

    def _stop(self) -> None:
        if self._runs:
            self._runs = False
            jax.profiler.stop_trace()  # type: ignore[no-untyped-call]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()
