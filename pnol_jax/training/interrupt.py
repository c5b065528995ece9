"""SIGTERM and SIGINT as a wish to stop at the next step, so that the state can be saved first."""

import signal
import threading
from types import FrameType
from typing import Self

import jax
from jax.experimental import multihost_utils

RESUME_ME = 75  # EX_TEMPFAIL: the caller should run the same command again with --resume


class Interrupt:
    """While entered, a first signal is a wish; a second one acts as it did before.

    Several processes must stop after the same step, so that SIGTERM to any of them is JAX's to see: it lets all agree
    on one. Their SIGINT stays what it was. In a thread other than the first, signals are nobody's to see.
    """

    def __init__(self) -> None:
        self._together = jax.process_count() > 1
        self.told = False  # this process alone was
        self._before: dict[int, object] = {}

    def wanted(self, step: int) -> bool:
        """Whether to stop now that `step` is done; every process asks after every step."""
        return bool(multihost_utils.reached_preemption_sync_point(step)) if self._together else self.told

    def __enter__(self) -> Self:
        first = threading.current_thread() is threading.main_thread()
        for number in (signal.SIGTERM, signal.SIGINT) if first and not self._together else ():
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _note(self, number: int, _: FrameType | None) -> None:
        self.told = True
        signal.signal(number, self._before[number])  # type: ignore[arg-type]


def leave_when_told() -> None:
    """From here on SIGTERM ends the process with RESUME_ME: there is nothing to save, or it is saved."""

    def leave(*_: object) -> None:
        raise SystemExit(RESUME_ME)

    signal.signal(signal.SIGTERM, leave)
