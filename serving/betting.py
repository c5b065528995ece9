"""The bets of the tests that may be looked at whenever one likes, and what they come to together.

Which test is a bet on what: `serving.releases.evidence` and `serving.monitoring.drift`. Without NumPy, since the parent
of several workers needs it.
"""

import math
from collections.abc import Sequence

# Halves of one another; large ones weigh more, as a large difference should be found soon, and a small one cannot be.
BETS = (63 / 64, *(0.5**k for k in range(1, 8)))
_HARMONIC = [1 / k for k in range(1, len(BETS) + 1)]
WEIGHTS = tuple(term / math.fsum(_HARMONIC) for term in _HARMONIC)


def log_mean(logarithms: Sequence[float]) -> float:
    """The logarithm of the weighted mean of what these are the logarithms of, (bets,)."""
    top = max(logarithms)
    return top + math.log(math.fsum(w * math.exp(log - top) for w, log in zip(WEIGHTS, logarithms, strict=True)))
