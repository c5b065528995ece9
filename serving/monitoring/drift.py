"""Whether inputs or calibration have drifted from what a version states, said so that one may look at any time.

Both are numbers x in [0, 1] whose mean is at most a stated rate r as long as nothing has drifted: whether an input sets
off the alarm, and the share of a truth's points that lie outside their interval. As in `serving.releases.evidence`, of
whose bets this is the mixture, the wealth of a gambler against that,

    W = prod_t (1 - b + b x_t / r), 0 <= b < 1,

is a nonnegative supermartingale, and 1 / W is a p-value whenever one looks (Ville's inequality). W depends on how often
each value came and not on the order, so that it is made of counters, which add up over workers.

The stated rate holds on average over calibration sets. That of the set at hand is up to luck: it is below the 99%
quantile of a Beta distribution in 99% of them (Vovk 2012, "Conditional validity of inductive conformal predictors"),
and this is the r that is tested.
"""

import functools
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from serving.betting import BETS, log_mean

LUCKY = 0.99  # share of calibration sets whose own rate is below the one that is tested


def p_value(counts: Iterable[tuple[float, float]], rate: float) -> float:
    """Against "the mean is at most `rate`": of values in [0, 1], each with the times that it came."""
    bets, wealth = np.array(BETS), np.zeros(len(BETS))
    for value, times in counts:
        wealth += times * np.log1p(bets * (value / rate - 1))
    return min(1.0, math.exp(-log_mean(wealth.tolist())))


@functools.lru_cache(1024)  # of what a manifest states, asked at every scrape
def allowed_rate(rate: float, cases: int | None) -> float:
    """What a rate stated by so many calibration cases may be for their luck; itself where that is not known."""
    if not cases:
        return rate
    least = max(1, math.floor(rate * (cases + 1) + 1e-9))  # of them that are beyond the threshold
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if _at_least(least, cases, middle) < LUCKY else (low, middle)
    return max(rate, high)


def _at_least(least: int, cases: int, rate: float) -> float:
    """P(Binomial(cases, rate) >= least), which is P(Beta(least, cases + 1 - least) <= rate)."""
    log_rate, log_rest = math.log(rate), math.log1p(-rate)
    below = (
        math.exp(
            math.lgamma(cases + 1)
            - math.lgamma(k + 1)
            - math.lgamma(cases - k + 1)
            + k * log_rate
            + (cases - k) * log_rest
        )
        for k in range(least)
    )
    return 1.0 - math.fsum(below)


def stated_cases(guarantee: Mapping[str, Any] | None) -> int | None:
    """The calibration cases that a guarantee names, if it does."""
    cases = (guarantee or {}).get("cases")
    return cases if isinstance(cases, int) else None
