"""What a simulation is worth for its cost, where cheaper ones tell less."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pnol_jax.errors import InputError

Floats = NDArray[np.float64]


def gains(variance: ArrayLike, correlation: ArrayLike, noise: ArrayLike) -> Floats:
    """The variance that a simulation of each fidelity takes from each case, (cases, fidelities).

    Of a Gaussian whose low-fidelity value has the same variance v, the correlation rho with the true one, and noise s:
    rho^2 v^2 / (v + s), what conditioning on it removes (the model of Kennedy, O'Hagan
    2000, Predicting the output from a complex computer code when fast approximations are available, for one case).

    Args:
        variance: of each case at the highest fidelity, (cases,).
        correlation: of each fidelity with the highest, (fidelities,) or (cases, fidelities), in [-1, 1].
        noise: variance that each fidelity adds, () or (fidelities,) or (cases, fidelities).

    Raises:
        InputError: numbers outside these bounds, or shapes that do not fit.
    """
    v, rho, s = np.asarray(variance, np.float64), np.asarray(correlation, np.float64), np.asarray(noise, np.float64)
    if v.ndim != 1 or not np.all(v >= 0) or not np.all(np.abs(rho) <= 1) or not np.all(s >= 0):
        raise InputError(
            "gains: expected variances (cases,) and noise of at least 0, and correlations between -1 and 1"
        )
    v = v[:, None]
    return np.asarray(np.square(rho) * np.square(v) / np.maximum(v + s, np.finfo(np.float64).tiny))


def best_fidelities(gain: ArrayLike, cost: ArrayLike) -> tuple[NDArray[np.intp], Floats]:
    """Of each case the fidelity of the largest gain per cost, (cases,), and that ratio, (cases,).

    Args:
        gain: (cases, fidelities).
        cost: of one simulation, (fidelities,), positive.
    """
    values, price = np.asarray(gain, np.float64), np.asarray(cost, np.float64)
    if values.ndim != 2 or price.shape != values.shape[1:] or not np.all(price > 0):
        raise InputError(
            f"fidelities: got gains {values.shape} and costs {price.shape}, expected a positive cost for each"
        )
    ratio = values / price
    best = np.argmax(ratio, axis=1)
    return best, np.asarray(ratio[np.arange(len(ratio)), best])


def within_budget(ratio: ArrayLike, cost: Sequence[float], budget: float) -> NDArray[np.intp]:
    """Cases by falling gain per cost, as many as the budget pays for: their numbers.

    Args:
        ratio: gain per cost of each case, (cases,).
        cost: of each case, (cases,).
        budget: what may be spent.
    """
    chosen, left = [], budget
    for case in np.argsort(-np.asarray(ratio, np.float64), kind="stable"):
        if cost[case] <= left:
            chosen.append(int(case))
            left -= cost[case]
    return np.asarray(chosen, np.intp)
