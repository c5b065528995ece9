"""How large a mean loss may be, given that of n cases: tail bounds that hold for every n.

Losses are in [0, 1]. A bound is used as a p-value of the hypothesis that the mean is larger than `risk`.
"""

import math

import numpy as np


def log_binomial_tail(successes: int, cases: int, share: float) -> float:
    """The logarithm of P(Binomial(cases, share) <= successes)."""
    if successes >= cases:
        return 0.0
    k = np.arange(successes + 1)
    steps = np.log((cases - k[:-1]) / (k[:-1] + 1)) if successes else np.empty(0)
    terms = np.concatenate([[0.0], np.cumsum(steps)]) + k * math.log(share) + (cases - k) * math.log1p(-share)
    peak = float(terms.max())
    return min(0.0, peak + math.log(float(np.exp(terms - peak).sum())))


def binomial_p_value(total: float, cases: int, risk: float) -> float:
    """Of losses that are 0 or 1 and add up to `total`: P(Binomial(cases, risk) <= total), which is exact."""
    return math.exp(log_binomial_tail(math.floor(total + 1e-9), cases, risk))


def hoeffding_bentkus_p_value(total: float, cases: int, risk: float) -> float:
    """Of losses in [0, 1] that add up to `total`: the smaller of Hoeffding's and Bentkus' bound.

    exp(-n h(min(mean, risk), risk)) with h(a, b) = a log(a / b) + (1 - a) log((1 - a) / (1 - b)), and
    e P(Binomial(n, risk) <= ceil(total)). Source: Bates, Angelopoulos, Lei, Malik, Jordan 2021, Distribution-free,
    risk-controlling prediction sets.
    """
    mean = min(total / cases, risk)
    hoeffding = math.exp(-cases * _entropy(mean, risk))
    return min(1.0, hoeffding, math.exp(1 + log_binomial_tail(math.ceil(total - 1e-9), cases, risk)))


def _entropy(a: float, b: float) -> float:
    first = a * math.log(a / b) if a > 0 else 0.0
    second = (1 - a) * math.log((1 - a) / (1 - b)) if a < 1 else 0.0
    return first + second


def least_for_risk(risk: float, confidence: float) -> int:
    """The fewest cases by which a mean loss of zero shows the risk: (1 - risk)^n <= 1 - confidence."""
    return math.ceil(math.log(1 - confidence) / math.log(1 - risk) - 1e-9)
