"""How much of the variance of quantities of interest an observation removes, and batches by that.

Everything is told by loadings: rows l with covariance l_i . l_j, of draws, or of gradients times a covariance's root.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pnol_jax.active.uncertainty import check_count
from pnol_jax.errors import InputError

Floats = NDArray[np.float64]


def loadings(draws: ArrayLike) -> Floats:
    """Of values that were drawn together, (cases, draws), rows whose products are the sample covariances: that shape.

    Raises:
        InputError: fewer than two draws.
    """
    values = np.asarray(draws, np.float64)
    if values.ndim != 2 or values.shape[1] < 2:
        raise InputError(f"draws: got shape {values.shape}, expected (cases, draws) with at least 2 draws")
    return np.asarray((values - values.mean(axis=1, keepdims=True)) / np.sqrt(values.shape[1] - 1))


def expected_reduction(targets: ArrayLike, candidates: ArrayLike, noise: ArrayLike) -> Floats:
    """The mean variance that observing each candidate takes from the targets, (candidates,).

    Of a Gaussian, mean_t cov(t, c)^2 / (var c + noise_c), whatever is observed: the integrated variance reduction of
    Cohn, Ghahramani, Jordan 1996, Active learning with statistical models.

    Args:
        targets: loadings of the quantities of interest, (targets, k).
        candidates: those of what may be observed, (candidates, k).
        noise: variances of the observations' noise, () or (candidates,).

    Raises:
        InputError: loadings of different widths, or noise below zero.
    """
    wanted, offered, spread = _check(targets, candidates, noise)
    covariance = wanted @ offered.T
    variance = np.sum(np.square(offered), axis=1) + spread
    return np.asarray(np.mean(np.square(covariance), axis=0) / np.maximum(variance, np.finfo(np.float64).tiny))


def greedy_reduction(
    targets: ArrayLike, candidates: ArrayLike, noise: ArrayLike, count: int
) -> tuple[NDArray[np.intp], Floats]:
    """Candidates one after the other, each worth the most given those before it; and what each takes, (count,) both.

    After an observation of loading l and noise s every loading a becomes what is left of it, in covariance
    a . b - (a . l)(b . l) / (|l|^2 + s). That is done by a rank-one change of the rows (Potter's form of the Kalman
    update), so that products stay covariances.
    """
    wanted, offered, spread = _check(targets, candidates, noise)
    check_count(count, len(offered))
    chosen: list[int] = []
    taken: list[float] = []
    for _ in range(count):
        each = expected_reduction(wanted, offered, spread)
        each[chosen] = -np.inf
        best = int(np.argmax(each))
        chosen.append(best)
        taken.append(float(each[best]))
        loading, variance = offered[best], float(spread[best])
        size = float(loading @ loading)
        if size > 0:
            share = (1 - np.sqrt(variance / (size + variance))) / size
            wanted, offered = (rows - share * np.outer(rows @ loading, loading) for rows in (wanted, offered))
    return np.asarray(chosen, np.intp), np.asarray(taken)


def _check(targets: ArrayLike, candidates: ArrayLike, noise: ArrayLike) -> tuple[Floats, Floats, Floats]:
    wanted, offered = np.asarray(targets, np.float64), np.asarray(candidates, np.float64)
    if wanted.ndim != 2 or offered.ndim != 2 or wanted.shape[1] != offered.shape[1]:
        raise InputError(
            f"loadings: got shapes {wanted.shape} and {offered.shape}, expected (targets, k), (candidates, k)"
        )
    spread = np.broadcast_to(np.asarray(noise, np.float64), len(offered))
    if not np.all(spread >= 0):
        raise InputError("noise: got a variance below zero, or one that is not a number")
    return wanted, offered, spread
