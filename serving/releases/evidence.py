"""Evidence against "B is no worse than A", valid whenever one looks and stops.

A truth gives both versions a score, smaller is better and none negative, and the relative difference

    d = (score_B - score_A) / (score_B + score_A), in [-1, 1] whatever the scores' unit and tails.

Under the hypothesis that E[d_t | past] <= 0, the wealth of a gambler who bets the share b of it on each d,
W_t(b) = prod_s (1 + b d_s) with 0 <= b < 1, is a nonnegative supermartingale, and so is a weighted mean of the wealths
of many b. It ever reaches 1 / level with a probability of at most `level` (Ville's inequality), so that the test may
be looked at after every truth. Other sequential tests need a bound on the scores or on their tails, which an error of
a field has not; betting needs none beyond that of d, and adapts to its variance as the mixture finds its best b. The
bound of d is also the price: no valid test can reject before about log(1 / level) / mean(d) truths, however steady d
is, since a rare d = -1 that was not seen yet could make up for them.

What is tested is the mean of relative differences: every truth counts alike, where a difference of means would be
decided by the few cases with large fields.

Sources: Waudby-Smith, Ramdas (2023), "Estimating means of bounded random variables by betting", Section 4;
Orabona, Jun (2021) on the mixture (a universal portfolio); Choe, Ramdas (2023), "Comparing sequential forecasters".
"""

import math
from dataclasses import dataclass

from serving.betting import BETS, log_mean


def relative_difference(base: float, candidate: float) -> float:
    """The relative difference d of two scores that are not negative; one that is not finite is worse than any other."""
    lost = float(not math.isfinite(candidate)) - float(not math.isfinite(base))
    total = base + candidate
    if lost or not math.isfinite(total) or total <= 0:
        return lost
    return (candidate - base) / total


@dataclass(frozen=True)
class Evidence:
    """What relative differences so far say in both directions.

    `worse`, `better`: the logarithms of the wealth of each bet on d > 0 and on d < 0, (bets,); `peaks`: the largest
    logarithms of the mean wealth so far, of worse and of better.
    """

    count: int = 0
    total: float = 0.0
    worse: tuple[float, ...] = (0.0,) * len(BETS)
    better: tuple[float, ...] = (0.0,) * len(BETS)
    peaks: tuple[float, float] = (0.0, 0.0)

    @property
    def mean(self) -> float:
        """The mean relative difference; negative where B is better."""
        return self.total / self.count if self.count else 0.0

    def rejects(self, level: float) -> tuple[bool, bool]:
        """Whether "B is no worse" and "B is no better" are rejected, each wrongly with probability `level` at most."""
        bound = -math.log(level)
        return self.peaks[0] >= bound, self.peaks[1] >= bound


def observe(evidence: Evidence, difference: float) -> Evidence:
    """The evidence after one more relative difference, in [-1, 1]."""
    worse = tuple(log + math.log1p(bet * difference) for log, bet in zip(evidence.worse, BETS, strict=True))
    better = tuple(log + math.log1p(-bet * difference) for log, bet in zip(evidence.better, BETS, strict=True))
    peaks = max(evidence.peaks[0], log_mean(worse)), max(evidence.peaks[1], log_mean(better))
    return Evidence(evidence.count + 1, evidence.total + difference, worse, better, peaks)
