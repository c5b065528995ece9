"""What truths say of one version: scores of each, and their running sums."""

import math
from bisect import bisect_left

from msgspec import Struct, field

MISSED = (0.0, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.125, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


class Scores(Struct, frozen=True):
    """Of one truth, means over cases, points and channels; all but `coverage` are the better the smaller.

    error: relative, in L2; crps: of the Gaussian with the answer's mean and deviation, in the unit of the outputs;
    coverage: the share of points in the interval; interval: its score, in the unit of the outputs.
    """

    error: float
    crps: float
    coverage: float
    interval: float


LOST = Scores(math.inf, math.inf, math.nan, math.inf)  # of a version that failed to answer


class Misses(Struct):
    """Shares of a truth's points outside its interval: how many lie between the bounds of MISSED, and their sum."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(MISSED) + 1))
    total: float = 0.0


class Tally(Struct):
    """Running sums of one version."""

    truths: int = 0
    sums: dict[str, tuple[float, int]] = {}  # and of how many: an error relative to 0 is none
    misses: dict[float, Misses] = {}  # by the interval's level

    def add(self, scores: Scores, level: float) -> None:
        """Note the scores of a truth, its coverage that of an interval of this level."""
        self.truths += 1
        if math.isfinite(scores.coverage):
            misses, share = self.misses.setdefault(level, Misses()), 1 - scores.coverage
            misses.counts[bisect_left(MISSED, share)] += 1
            misses.total += share
        for name in scores.__struct_fields__:
            value, (total, count) = getattr(scores, name), self.sums.get(name, (0.0, 0))
            if math.isfinite(value):
                self.sums[name] = (total + value, count + 1)

    def means(self) -> dict[str, float]:
        """Mean scores over the truths."""
        return {name: total / count for name, (total, count) in self.sums.items()}
