"""Exceedance and tail means of a normal quantity, in closed form; of JAX's arrays or of NumPy's."""

import math
from statistics import NormalDist
from typing import Any

import numpy as np

from pnol_jax.normal import cdf


def exceedance(mean: Any, variance: Any, threshold: Any) -> Any:
    """P(X > threshold), X normal, of the shape of the mean; 0 or 1 where the variance is zero.

    `threshold`: a number, or an array that goes with the mean's shape.
    """
    xp = mean.__array_namespace__()
    std = xp.sqrt(variance)
    with np.errstate(over="ignore"):
        uncertain = cdf((mean - threshold) / xp.maximum(std, np.finfo(std.dtype).tiny))
    return xp.where(std > 0, uncertain, xp.astype(mean > threshold, std.dtype))


def tail_mean(mean: Any, variance: Any, level: float) -> Any:
    """The conditional value at risk: the mean of X over its largest share 1 - level, X normal.

    mean + std phi(z) / (1 - level), z the quantile of the level. Source: Rockafellar, Uryasev 2000, Optimization of
    conditional value-at-risk.
    """
    z = NormalDist().inv_cdf(level)
    density = math.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
    return mean + mean.__array_namespace__().sqrt(variance) * (density / (1 - level))
