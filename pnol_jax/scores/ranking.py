"""Whether uncertain cases are the wrong ones: errors and uncertainties of many cases, one number each.

NumPy on the host, in whichever unit both have; what is ranked need not be calibrated.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pnol_jax.errors import InputError

Floats = NDArray[np.float64]


def spearman(errors: ArrayLike, uncertainties: ArrayLike) -> float:
    """The correlation of ranks, (cases,) both, equal values at their mean rank: 1 for the same order, 0 without one."""
    first, second = (_ranks(values) for values in _pair(errors, uncertainties))
    deviations = first - first.mean(), second - second.mean()
    size = np.sqrt(np.square(deviations[0]).sum() * np.square(deviations[1]).sum())
    return float((deviations[0] * deviations[1]).sum() / size) if size > 0 else 0.0


def risk_coverage(errors: ArrayLike, uncertainties: ArrayLike) -> Floats:
    """The mean error of the k least uncertain cases, k = 1, ..., cases: (cases,).

    What a user meets who is answered on the share k / cases only (selective prediction: Geifman, El-Yaniv 2017); read
    backwards it is the sparsification curve. Cases that are equally uncertain count by their mean error, so that their
    order does not matter.
    """
    wrong, unsure = _pair(errors, uncertainties)
    order = np.argsort(unsure, kind="stable")
    _, group, sizes = np.unique(unsure[order], return_inverse=True, return_counts=True)
    even = (np.bincount(group, wrong[order]) / sizes)[group]
    return np.asarray(np.cumsum(even) / np.arange(1, len(even) + 1))


def ause(errors: ArrayLike, uncertainties: ArrayLike) -> float:
    """The area between the sparsification curve and that of an oracle which knows the errors, over the mean error.

    Both are given as (cases,). 0 where the most uncertain cases are the most wrong; positive otherwise. Source: Ilg et
    al. 2018, Uncertainty estimates and multi-hypotheses networks for optical flow.
    """
    wrong, unsure = _pair(errors, uncertainties)
    between = risk_coverage(wrong, unsure) - risk_coverage(wrong, wrong)
    return float(between.mean() / wrong.mean()) if wrong.mean() > 0 else 0.0


def _ranks(values: Floats) -> Floats:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts - 1) / 2)[inverse])


def _pair(errors: Any, uncertainties: Any) -> tuple[Floats, Floats]:
    first, second = np.asarray(errors, np.float64), np.asarray(uncertainties, np.float64)
    if first.ndim != 1 or first.shape != second.shape or first.size < 2:
        raise InputError(
            f"errors and uncertainties: got shapes {first.shape} and {second.shape}, expected (cases,) of at least 2"
        )
    return first, second
