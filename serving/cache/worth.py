"""Whether looking answers up is worth it: not for a model that computes them in less time."""

from collections import deque

SAMPLES = 15  # of which the median counts, so that one pause of the machine decides nothing
ENOUGH = 5  # before anything is decided
TRIAL = 100  # while it is not worth it, every so many requests are looked up all the same


class _Median:
    """The median of the latest seconds."""

    def __init__(self) -> None:
        self._latest: deque[float] = deque(maxlen=SAMPLES)
        self.value: float | None = None  # of enough

    def add(self, seconds: float) -> None:
        self._latest.append(seconds)
        if len(self._latest) >= ENOUGH:
            self.value = sorted(self._latest)[len(self._latest) // 2]


class Worth:
    """Of one version: what a look-up takes (key, search, copy) and what a computation takes, as requests see it."""

    def __init__(self) -> None:
        self._look_up, self._computation = _Median(), _Median()
        self._skipped = 0

    @property
    def is_off(self) -> bool:
        """Whether computing takes no longer than looking up."""
        look_up, computation = self._look_up.value, self._computation.value
        return look_up is not None and computation is not None and computation <= look_up

    def skips(self) -> bool:
        """Whether this request should not be looked up."""
        if not self.is_off:
            return False
        self._skipped += 1
        return self._skipped % TRIAL != 0

    def looked_up(self, seconds: float) -> None:
        """Note what a look-up took."""
        self._look_up.add(seconds)

    def computed(self, seconds: float) -> None:
        """Note what a computation took."""
        self._computation.add(seconds)
