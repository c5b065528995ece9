"""Batches that do not repeat themselves, by distances between features of the cases."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pnol_jax.active.uncertainty import check_count
from pnol_jax.errors import InputError

Floats = NDArray[np.float64]


def badge(features: ArrayLike, count: int, seed: int = 0) -> NDArray[np.intp]:
    """Cases drawn as k-means++ draws its centres: far from those before and, at first, long: (count,).

    The first is the longest feature; each next one is drawn with a probability in proportion to its squared distance to
    the nearest one chosen. With gradient features that are as long as the model is unsure this trades uncertainty
    against diversity. Source: Ash, Zhang, Krishnamurthy, Langford, Agarwal 2020, Deep batch active learning by diverse,
    uncertain gradient lower bounds, Algorithm 1.
    """
    rows = _check(features, count)
    rng = np.random.default_rng(seed)
    chosen = [int(np.argmax(np.sum(np.square(rows), axis=1)))]
    nearest = _squares(rows, rows[chosen[0]])
    while len(chosen) < count:
        nearest[chosen] = 0
        whole = nearest.sum()
        left = np.setdiff1d(np.arange(len(rows)), chosen)
        drawn = int(rng.choice(len(rows), p=nearest / whole)) if whole > 0 else int(left[0])
        chosen.append(drawn)
        nearest = np.minimum(nearest, _squares(rows, rows[drawn]))
    return np.asarray(chosen, np.intp)


def lcmd(features: ArrayLike, count: int, known: ArrayLike | None = None) -> NDArray[np.intp]:
    """Largest cluster, maximum distance: (count,).

    Every case belongs to the nearest centre, of the `known` training cases and those chosen; a cluster's size is the
    sum of its squared distances; the next case is the one farthest from its centre in the largest cluster. Without
    known cases the first is the longest feature. Source: Holzmueller, Zaverkin, Kaestner, Steinwart 2023, A framework
    and benchmark for deep batch active learning for regression.
    """
    rows = _check(features, count)
    centres = np.zeros((0, rows.shape[1])) if known is None else np.asarray(known, np.float64)
    if centres.ndim != 2 or centres.shape[1] != rows.shape[1]:
        raise InputError(f"known: got shape {centres.shape}, expected (cases, {rows.shape[1]}) as the features'")
    nearest, owner = np.full(len(rows), np.inf), np.full(len(rows), -1)
    for number, centre in enumerate(centres):
        nearest, owner = _closer(rows, centre, number, nearest, owner)
    chosen: list[int] = []
    while len(chosen) < count:
        if len(centres) + len(chosen) == 0:
            best = int(np.argmax(np.sum(np.square(rows), axis=1)))
        else:
            sizes = np.bincount(owner, weights=nearest)
            inside = np.where(owner == int(np.argmax(sizes)), nearest, -1.0)
            inside[chosen] = -1.0
            best = int(np.argmax(inside)) if inside.max() >= 0 else int(np.setdiff1d(np.arange(len(rows)), chosen)[0])
        nearest, owner = _closer(rows, rows[best], len(centres) + len(chosen), nearest, owner)
        chosen.append(best)
    return np.asarray(chosen, np.intp)


def _closer(
    rows: Floats, centre: Floats, number: int, nearest: Floats, owner: NDArray[np.intp]
) -> tuple[Floats, NDArray[np.intp]]:
    distance = _squares(rows, centre)
    return np.minimum(nearest, distance), np.where(distance < nearest, number, owner)


def _squares(rows: Floats, centre: Floats) -> Floats:
    return np.asarray(np.sum(np.square(rows - centre), axis=1))


def _check(features: ArrayLike, count: int) -> Floats:
    rows = np.asarray(features, np.float64)
    if rows.ndim != 2 or not np.all(np.isfinite(rows)):
        raise InputError(f"features: got shape {rows.shape}, expected (cases, width) of finite numbers")
    check_count(count, len(rows))
    return rows
