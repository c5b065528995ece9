"""The bets of the tests that may be looked at whenever one likes, and what they come to together.

Which test is a bet on what: `serving.releases.evidence` and `serving.monitoring.drift`.
"""

import math

import numpy as np
from numpy.typing import NDArray

# Halves of one another; large ones weigh more, as a large difference should be found soon, and a small one cannot be.
BETS: NDArray[np.float64] = np.array([63 / 64, *(0.5**k for k in range(1, 8))])
_HARMONIC: NDArray[np.float64] = 1 / np.arange(1.0, len(BETS) + 1)
WEIGHTS: NDArray[np.float64] = _HARMONIC / _HARMONIC.sum()


def log_mean(logarithms: NDArray[np.float64]) -> float:
    """The logarithm of the weighted mean of what these are the logarithms of, (bets,)."""
    top = float(logarithms.max())
    return top + math.log(float(WEIGHTS @ np.exp(logarithms - top)))
