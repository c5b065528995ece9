"""What happens to steps that would spoil a run: they are left out; too many of them, and the run goes back or stops."""

import math
import statistics
from collections import deque
from typing import Any

import numpy as np

from pnol_jax.config import TrainingConfig

NORMS = 100  # steps whose gradient norms make the median
LEAST = 20  # of them, before which no step counts as a spike


class Guard:
    """Counts the bad steps of a run: those whose loss or gradient is not finite, or whose gradient is a spike.

    The compiled step leaves a bad step out (`pnol_jax.training.step`); this knows by the same figures that it did. It
    decides from them alone, which are equal in all processes, and its state is plain data that goes into the
    checkpoints, so that a resumed run decides as an unbroken one does.
    """

    def __init__(self, settings: TrainingConfig) -> None:
        self._settings = settings
        self._recent: deque[int] = deque()
        self._norms: deque[float] = deque(maxlen=NORMS)
        self._losses: list[float] = []
        self.blind = False  # whether the last bad step was not finite, rather than a spike
        self.skipped = 0
        self.rollbacks = 0

    @property
    def limit(self) -> tuple[np.float32, ...]:
        """The gradient norm above which the next step is a spike, as the step's further argument; none if none is."""
        factor = self._settings.spike_factor
        if not factor:
            return ()
        known = len(self._norms) >= LEAST
        return (np.float32(factor * statistics.median(self._norms) if known else math.inf),)

    @property
    def rate(self) -> float:
        """The factor on the learning rate."""
        return self._settings.rollback_rate**self.rollbacks

    def judge(self, step: int, loss: float, norm: float) -> str | None:
        """Look at a step; None if it is good, otherwise what is wrong with it."""
        limit = float(self.limit[0]) if self.limit else math.inf
        if math.isfinite(loss) and math.isfinite(norm) and norm <= limit:
            self._norms.append(norm)
            self._losses.append(loss)
            return None
        self.blind = not (math.isfinite(loss) and math.isfinite(norm))
        self.skipped += 1
        self._recent.append(step)
        while self._recent[0] <= step - self._settings.bad_window:
            self._recent.popleft()
        if not math.isfinite(loss):
            return f"the loss is {loss:g}"
        return f"the gradient's norm is {norm:.3g}" + (f", the limit {limit:.3g}" if math.isfinite(norm) else "")

    @property
    def exhausted(self) -> bool:
        """Whether the last steps hold more bad ones than the config allows."""
        return len(self._recent) > self._settings.max_bad_steps

    @property
    def spent(self) -> bool:
        """Whether no further rollback is allowed."""
        return self.rollbacks >= self._settings.rollbacks

    @property
    def first(self) -> int:
        """The first of the last bad steps."""
        return self._recent[0]

    @property
    def count(self) -> str:
        """The bad steps of late, in words."""
        return f"{len(self._recent)} of the last {self._settings.bad_window} steps left out, {self.rollbacks} rollbacks"

    def mean_loss(self) -> float | None:
        """The mean loss of the good steps since this was last asked for; None if there were none."""
        losses, self._losses = self._losses, []
        return statistics.fmean(losses) if losses else None

    def get_state(self) -> dict[str, Any]:
        """What a checkpoint holds of this."""
        return {
            "recent": [*self._recent],
            "norms": [*self._norms],
            "skipped": self.skipped,
            "rollbacks": self.rollbacks,
        }

    def set_state(self, saved: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self._recent = deque(saved["recent"])
        self._norms = deque(saved["norms"], NORMS)
        self.skipped, self.rollbacks = saved["skipped"], saved["rollbacks"]

    def roll_back(self, saved: dict[str, Any]) -> None:
        """Go back to a checkpoint, with a smaller rate and no bad steps behind."""
        rollbacks = self.rollbacks + 1
        self._losses = []
        self.set_state(saved | {"recent": [], "rollbacks": rollbacks})
