"""The normal distribution function of arrays of either kind: JAX's own of JAX's arrays, a formula of NumPy's.

What answers requests has NumPy's arrays, runs beside the thread that owns the device, and does without SciPy.
"""

from typing import Any

import numpy as np
from jax.scipy.special import ndtr
from numpy.typing import NDArray

_NEAR = 7.07106781186547  # standard deviations, beyond which a continued fraction is exact
_FAR = 39.0  # beyond which no number is small enough
_ABOVE = (
    3.52624965998911e-02,
    0.700383064443688,
    6.37396220353165,
    33.912866078383,
    112.079291497871,
    221.213596169931,
    220.206867912376,
)
_BELOW = (
    8.83883476483184e-02,
    1.75566716318264,
    16.064177579207,
    86.7807322029461,
    296.564248779674,
    637.333633378831,
    793.826512519948,
    440.413735824752,
)


def cdf(x: Any) -> Any:
    """P(Z <= x), Z ~ N(0, 1), of the shape and kind of x; of NumPy's arrays within 1e-15.

    Source: Hart 1968, Computer Approximations, algorithm 5666, as in West 2005, Better approximations to cumulative
    normal functions.
    """
    if not isinstance(x, np.ndarray | np.generic):
        return ndtr(x)
    values: NDArray[Any] = np.asarray(x)
    distance = np.minimum(np.abs(values.astype(np.float64)), _FAR)
    tail = np.exp(-0.5 * distance * distance) * np.where(distance < _NEAR, _ratio(distance), _fraction(distance))
    return np.where(np.isnan(values), values, np.where(values > 0, 1 - tail, tail)).astype(values.dtype)


def _ratio(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.polyval(_ABOVE, distance) / np.polyval(_BELOW, distance))


def _fraction(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    rest = np.maximum(distance, 1.0) + 0.65
    for numerator in (4, 3, 2, 1):
        rest = distance + numerator / rest
    return np.asarray(1 / (rest * np.sqrt(2 * np.pi)))
