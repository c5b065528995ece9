"""How sure a figure is: intervals over the cases that it was measured on, by resampling them.

The case is what is drawn anew, since the points of one field depend on each other. NumPy on the host.
"""

from collections.abc import Callable
from statistics import NormalDist
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pnol_jax.errors import InputError

Floats = NDArray[Any]
Statistic = Callable[[Floats], Any]
REPEATS = 1000


class Estimate(NamedTuple):
    """A figure, and the interval that holds its value over all cases there could be with the asked probability."""

    value: float
    low: float
    high: float


def mean(rows: Floats) -> Any:
    """The mean over cases."""
    return rows.mean(axis=0)


def bootstrap(
    rows: ArrayLike,
    statistic: Statistic = mean,
    level: float = 0.95,
    method: Literal["bca", "percentile"] = "bca",
    repeats: int = REPEATS,
    seed: int = 0,
) -> Estimate:
    """The interval of a statistic of cases.

    Args:
        rows: (cases, ...), one row a case, as the statistic reads it.
        statistic: from rows to a number.
        level: of the interval.
        method: "percentile": quantiles of the statistic over resampled cases; "bca": with levels corrected for its bias
            and skewness (Efron 1987, Better bootstrap confidence intervals).
        repeats: how often cases are drawn.
        seed: of the draws, so that the same cases give the same interval.

    Raises:
        InputError: fewer than two cases, or a level outside (0, 1).
    """
    values = np.asarray(rows, np.float64)
    if not values.ndim or len(values) < 2 or not 0 < level < 1:
        raise InputError(
            f"bootstrap: got rows of shape {values.shape} and level {level}, expected 2 cases and a level in (0, 1)"
        )
    estimate = float(statistic(values))
    replicates = _replicates(values, statistic, repeats, seed)
    if not np.all(np.isfinite(replicates)) or not np.isfinite(estimate):
        return Estimate(estimate, float("nan"), float("nan"))
    shares = np.array([(1 - level) / 2, (1 + level) / 2])
    if method == "bca":
        shares = _corrected(shares, estimate, replicates, _jackknife(values, statistic))
    low, high = np.quantile(replicates, shares)
    return Estimate(estimate, float(low), float(high))


def paired_difference(first: ArrayLike, second: ArrayLike, level: float = 0.95, **options: Any) -> Estimate:
    """The mean of first - second over the same cases, (cases,) each: what two runs differ by, case by case.

    Raises:
        InputError: not the same number of cases.
    """
    one, other = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if one.shape != other.shape or one.ndim != 1:
        raise InputError(f"paired difference: got {one.shape} and {other.shape}, expected the same (cases,)")
    return bootstrap(one - other, level=level, **options)


def _replicates(values: Floats, statistic: Statistic, repeats: int, seed: int) -> Floats:
    rng, cases = np.random.default_rng(seed), len(values)
    if statistic is mean and values.ndim == 1:
        counts = rng.multinomial(cases, np.full(cases, 1 / cases), size=repeats)
        return np.asarray(counts @ values / cases)
    return np.array([statistic(values[rng.integers(cases, size=cases)]) for _ in range(repeats)])


def _jackknife(values: Floats, statistic: Statistic) -> Floats:
    """The statistic without each case; of many cases without each of 200 parts, which says the same of its skewness."""
    cases = len(values)
    if statistic is mean and values.ndim == 1:
        return np.asarray((values.sum() - values) / (cases - 1))
    parts = np.array_split(np.arange(cases), min(cases, 200))
    return np.array([statistic(np.delete(values, part, axis=0)) for part in parts])


def _corrected(shares: Floats, estimate: float, replicates: Floats, without: Floats) -> Floats:
    normal = NormalDist()
    below = float(np.mean(replicates < estimate) + np.mean(replicates == estimate) / 2)
    if not 0 < below < 1 or np.ptp(without) == 0:
        return shares
    bias, off = normal.inv_cdf(below), without.mean() - without
    skew = float(np.sum(off**3) / (6 * np.sum(off**2) ** 1.5))
    z = np.array([bias + normal.inv_cdf(float(share)) for share in shares])
    moved = bias + z / (1 - skew * z)
    return np.array([normal.cdf(float(value)) for value in moved])
