"""Inputs that are near: the held one whose distance to what is asked is within a bound, by measuring it.

The distance is the largest deviation at any point, relative to the largest magnitude of the inputs that are asked, the
larger of those of all cases and channels. It says nothing about the outputs: for that one would have to know how
strongly the model reacts, its Lipschitz constant.

A lattice in a few numbers of each input narrows the search. None of them can change by more than a known step between
inputs that are within the bound, and cells are two steps wide, so whatever is within the bound lies in the same cell or
in the nearer one beside it. Whether it is within the bound is then measured, point by point.
"""

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.cache.key import Context, Key

Cell = tuple[Context, tuple[int, ...]]
COMPARED = 16  # held inputs at most for each request, the latest first
NARROWEST = 1e-9  # cell, far above what rounding moves


class Neighbours:
    """Held inputs by context and place. bound: the relative distance that is near enough, between 0 and 1."""

    def __init__(self, bound: float) -> None:
        self.bound = bound
        self._widths = np.maximum(2 * np.array([-math.log1p(-bound), 2 * bound, 2 * bound]), NARROWEST)
        self._cells: dict[Cell, dict[Key, NDArray[Any]]] = {}
        self._cell_of: dict[Key, Cell] = {}

    def add(self, key: Key, context: Context, inputs: NDArray[Any]) -> None:
        """Hold inputs, (cases, *space, channels), until they are removed."""
        cell = (context, tuple(int(place) for place in np.floor(_place(inputs) / self._widths)))
        self._cells.setdefault(cell, {})[key] = inputs
        self._cell_of[key] = cell

    def remove(self, key: Key) -> None:
        """Let inputs go, if they are held."""
        cell = self._cell_of.pop(key, None)
        if cell is not None:
            del self._cells[cell][key]
            if not self._cells[cell]:
                del self._cells[cell]

    def find(self, context: Context, inputs: NDArray[Any]) -> tuple[Key, float] | None:
        """Of inputs (cases, *space, channels) the nearest that were compared: key and distance, if within the bound."""
        candidates = itertools.islice(self._candidates(context, inputs), COMPARED)
        measured = [(distance(inputs, held), key) for key, held in candidates]
        nearest, key = min(measured, default=(math.inf, b""))
        return (key, nearest) if nearest <= self.bound else None

    def _candidates(self, context: Context, inputs: NDArray[Any]) -> Iterator[tuple[Key, NDArray[Any]]]:
        place = _place(inputs) / self._widths
        within = np.floor(place)
        beside = within + np.where(place - within < 0.5, -1, 1)
        for corner in itertools.product(*zip(within.astype(int).tolist(), beside.astype(int).tolist(), strict=True)):
            yield from reversed(self._cells.get((context, corner), {}).items())


def distance(asked: NDArray[Any], held: NDArray[Any]) -> float:
    """The largest of |asked - held| over the largest of |asked|, of the case and channel where that is largest.

    Both are (cases, *space, channels). Infinite where asked is zero at all points of a channel and held is not.
    """
    exact = asked.astype(np.float64)
    deviation, peak = _peak(exact - held), _peak(exact)
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.where(deviation == 0, 0.0, deviation / peak).max())


def _place(inputs: NDArray[Any]) -> NDArray[np.float64]:
    """Three numbers, means over cases and channels: log of the peak; mean field, and that of one half, over the peak.

    If inputs change by at most e times their peak at every point, the first changes by at most -log(1 - e), and the
    others by at most 2 e.
    """
    exact = inputs.astype(np.float64)
    peak = _peak(exact)
    peak[peak == 0] = 1
    space = tuple(range(1, exact.ndim - 1))
    whole = exact.mean(axis=space) / peak
    half = exact[:, : (exact.shape[1] + 1) // 2].mean(axis=space) / peak
    return np.array([np.log(peak).mean(), whole.mean(), half.mean()])


def _peak(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The largest magnitude of each case and channel, (cases, channels)."""
    peak: NDArray[np.float64] = np.abs(values).max(axis=tuple(range(1, values.ndim - 1)))
    return peak
