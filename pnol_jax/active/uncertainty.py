"""How much a model does not know of a case, from the distribution at each point."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from numpy.typing import NDArray

from pnol_jax.errors import InputError
from pnol_jax.predictive import Predictive
from pnol_jax.scores.measure import field_mean


def bald(predictive: Predictive, weights: ArrayLike) -> jax.Array:
    """Mutual information of the outcome at a point and the model, in nats, the mean over domain and channels, (batch,).

    1/2 log(1 + epistemic / aleatoric): what a noisy observation tells of a Gaussian (Houlsby, Huszar, Ghahramani,
    Lengyel 2011, Bayesian active learning for classification and preference learning). Noise that no
    observation removes makes a case worth little however uncertain it is. Of each point by itself: points that tell the
    same count twice.
    """
    ratio = predictive.epistemic / jnp.maximum(predictive.aleatoric, np.finfo(predictive.mean.dtype).tiny)
    return field_mean(0.5 * jnp.log1p(ratio), weights)


def predictive_variance(predictive: Predictive, weights: ArrayLike, unit: ArrayLike = 1.0) -> jax.Array:
    """The mean epistemic variance over the domain and the channels, (batch,); each channel in `unit`, (channels,)."""
    return field_mean(predictive.epistemic / jnp.square(jnp.asarray(unit, predictive.mean.dtype)), weights)


def top(scores: ArrayLike, count: int) -> NDArray[np.intp]:
    """The numbers (count,) of the cases with the largest scores (cases,), largest first, earlier before equal ones.

    Raises:
        InputError: more cases are asked for than there are, or a score is not a number.
    """
    values = np.asarray(scores, np.float64)
    check_count(count, len(values))
    if np.isnan(values).any():
        raise InputError(f"scores: case {int(np.flatnonzero(np.isnan(values))[0])} has one that is not a number")
    return np.argsort(-values, kind="stable")[:count]


def check_count(count: int, cases: int) -> None:
    """Refuse to choose none, or more than there are.

    Raises:
        InputError: the count is not between 1 and the number of cases.
    """
    if not 1 <= count <= cases:
        raise InputError(f"count: got {count}, expected 1 to {cases}, the cases of the pool")
