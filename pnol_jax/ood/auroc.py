"""How well a score tells two kinds of cases apart."""

import numpy as np
from numpy.typing import ArrayLike

from pnol_jax.errors import InputError


def auroc(inside: ArrayLike, outside: ArrayLike) -> float:
    """The probability that a case from outside scores higher than one from inside, ties counting half.

    The area under the receiver operating characteristic: 1/2 for chance, 1 where any threshold between the two kinds
    tells them apart. It is the statistic of Mann and Whitney over its largest value.

    Args:
        inside: scores of cases that are like those of training, (n,).
        outside: scores of others, (m,).

    Raises:
        InputError: no cases of a kind, or scores that are not numbers.
    """
    known, strange = np.asarray(inside, np.float64), np.asarray(outside, np.float64)
    if known.ndim != 1 or strange.ndim != 1 or not known.size or not strange.size:
        raise InputError(f"auroc: got shapes {known.shape} and {strange.shape}, expected (cases,) with at least one")
    if np.isnan(known).any() or np.isnan(strange).any():
        raise InputError("auroc: got scores that are not numbers")
    ordered = np.sort(known)
    below = np.searchsorted(ordered, strange, side="left")
    not_above = np.searchsorted(ordered, strange, side="right")
    return float(np.mean(below + not_above) / (2 * known.size))
