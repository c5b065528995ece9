"""SIGTERM and SIGINT as a wish to stop at the next step, so that the state can be saved first."""

import signal
from types import FrameType
from typing import Self

RESUME_ME = 75  # EX_TEMPFAIL: the caller should run the same command again with --resume


class Interrupt:
    """While entered, `wanted` becomes true at the first signal; a second one acts as it did before."""

    def __init__(self) -> None:
        self.wanted = False
        self._before: dict[int, object] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _note(self, number: int, _: FrameType | None) -> None:
        self.wanted = True
        signal.signal(number, self._before[number])  # type: ignore[arg-type]
