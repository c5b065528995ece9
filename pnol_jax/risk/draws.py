"""Exceedance and tail means of a quantity of which there are draws, in JAX's arrays or in NumPy's."""

import math
from typing import Any

import numpy as np

from pnol_jax.errors import InputError


def least_draws(level: float) -> int:
    """The fewest draws of which one lies in the largest share 1 - level."""
    return math.ceil(1 / (1 - level) - 1e-9)


def exceedance(values: Any, threshold: Any) -> Any:
    """The share of draws above the threshold, (draws, *lead) -> (*lead): unbiased."""
    return (values > threshold).astype(values.dtype).mean(axis=0)


def tail_mean(values: Any, level: float) -> Any:
    """The mean of the largest share 1 - level of the draws, the last of them in part, (draws, *lead) -> (*lead).

    It is the expected shortfall of the draws' own distribution; of that which they are drawn from it is a low estimate,
    by O(1 / draws) (Acerbi, Tasche 2002, On the coherence of expected shortfall).

    Raises:
        InputError: too few draws for the level.
    """
    number = values.shape[0]
    if number < least_draws(level):
        raise InputError(f"risk: got {number} draws, expected at least {least_draws(level)} for a tail at {level:g}")
    kept = (1 - level) * number
    weights = np.clip(kept - np.arange(number), 0, 1)  # from the largest draw on
    xp = values.__array_namespace__()
    ordered = xp.sort(values, axis=0)[::-1]
    return xp.tensordot(xp.asarray(weights / kept, dtype=values.dtype), ordered, axes=1)
