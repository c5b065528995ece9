"""How far features are from those of the training cases, after each has been given a Gaussian's marginal."""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from pnol_jax.calibration.record import check_rows, read_array

_LOWER = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4)
LEVELS = np.asarray([*_LOWER, 0.5, *(1 - level for level in reversed(_LOWER))])
SCORES = np.asarray([NormalDist().inv_cdf(level) for level in LEVELS])  # quantiles of the unit Gaussian
TAIL = 3  # outermost intervals over which the slope beyond them is taken
LARGEST = 30.0  # deviations of one feature
LEAST = 0.02 / 3  # least deviation of a feature: they are logarithms or in units of the channel's deviation
RIDGE = 0.03  # variance by which each feature is unsure, in its own: what few cases leave small is no scale for others
KNOWN = 1000  # training cases that are kept to look for neighbours among
NEIGHBOUR = 5


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class FeatureGaussian:
    """Marginals, mean and whitening of features over the training cases, and some of these cases.

    A Gaussian after a monotone map of each feature (Liu, Lafferty, Wasserman 2009, The nonparanormal): tails and
    clusters of a few training cases do not widen what counts as usual for the others.
    """

    quantiles: jax.Array  # (levels, width), at LEVELS, strictly increasing
    mean: jax.Array  # (width,), of the features in deviations, and so below
    whitening: jax.Array  # (width, width), upper triangular: z W has the unit covariance
    known: jax.Array  # (cases, width), whitened; none where no neighbours are asked for

    @classmethod
    def fit(cls, rows: NDArray[Any], known: int = KNOWN) -> "FeatureGaussian":
        """From the features of training cases, (cases, width); at most so many of these are kept.

        Raises:
            InputError: no cases, or features that are not numbers.
        """
        found = check_rows(rows, None, "features").astype(np.float64)
        quantiles = np.quantile(found, LEVELS, axis=0) + LEAST * SCORES[:, None]
        z = _deviations(found, quantiles, np)
        mean = z.mean(axis=0)
        whitening = np.linalg.inv(np.linalg.cholesky(shrunk(z - mean) + RIDGE * np.eye(len(mean)))).T
        kept = np.linspace(0, len(z) - 1, min(len(z), known)).round().astype(int)
        near = (z[kept] - mean) @ whitening
        return cls(*(jnp.asarray(leaf, float) for leaf in (quantiles, mean, whitening, near)))

    def largest(self, features: jax.Array) -> jax.Array:
        """The logarithm of each case's largest whitened deviation, (batch, width) -> (batch,).

        It is that of one feature given those before it; a mean over all features, as Mahalanobis' distance is, would
        dilute it.
        """
        return _logarithm(jnp.max(jnp.square(self._white(features)), axis=-1))

    def nearest(self, features: jax.Array) -> jax.Array:
        """The logarithm of the distance to the fifth nearest training case, (batch, width) -> (batch,).

        It also tells what lies between several kinds of them (Sun, Ming, Zhu, Li 2022, Out-of-distribution detection
        with deep nearest neighbors).
        """
        apart = jnp.mean(jnp.square(self._white(features)[:, None] - self.known.astype(features.dtype)), axis=-1)
        return _logarithm(jnp.sort(apart, axis=-1)[:, min(NEIGHBOUR, len(self.known)) - 1])

    def _white(self, features: jax.Array) -> jax.Array:
        quantiles, mean, whitening = (getattr(self, name).astype(features.dtype) for name in _ARRAYS[:3])
        return jnp.asarray((_deviations(features, quantiles, jnp) - mean) @ whitening)

    def to_dict(self) -> dict[str, jax.Array]:
        """The arrays by name: (levels, width), (width,), (width, width), (cases, width)."""
        return {name: getattr(self, name) for name in _ARRAYS}

    @classmethod
    def from_dict(cls, arrays: Mapping[str, Any], lead: str) -> "FeatureGaussian":
        """The inverse of `to_dict`, with names that begin with `lead`."""
        return cls(*(read_array(arrays, lead + name) for name in _ARRAYS))


_ARRAYS = ("quantiles", "mean", "whitening", "known")


def _logarithm(square: jax.Array) -> jax.Array:
    return jnp.log(square + 1e-6) / 2


def _deviations(features: Any, quantiles: Any, xp: Any) -> Any:
    """Each feature in deviations of a unit Gaussian, (batch, width): interpolated, with the slope of its tails beyond.

    A sum over the intervals of how much of each lies below, so that nothing is searched.
    """
    scores = SCORES.astype(features.dtype)[:, None]
    run, rise = quantiles[1:] - quantiles[:-1], scores[1:] - scores[:-1]
    inside = xp.clip(features[:, None] - quantiles[:-1], 0, run)
    below, above = xp.minimum(features - quantiles[0], 0), xp.maximum(features - quantiles[-1], 0)
    low = (scores[TAIL] - scores[0]) / (quantiles[TAIL] - quantiles[0])
    high = (scores[-1] - scores[-1 - TAIL]) / (quantiles[-1] - quantiles[-1 - TAIL])
    z = scores[0] + (inside * (rise / run)).sum(axis=1) + below * low + above * high
    return xp.clip(z, -LARGEST, LARGEST)


def shrunk(standard: NDArray[Any]) -> NDArray[Any]:
    """The covariance of centred rows, (cases, width), drawn towards a multiple of the identity: (width, width).

    The share that is optimal in expected squared error (Ledoit, Wolf 2004, A well-conditioned estimator for
    large-dimensional covariance matrices), at least 1e-3, so that few cases leave it invertible.
    """
    cases, width = standard.shape
    sample = standard.T @ standard / cases
    scale = float(np.trace(sample)) / width
    target = scale * np.eye(width)
    distance = float(np.sum(np.square(sample - target)))
    squares = np.square(standard)
    noise = float((np.sum(squares.T @ squares) / cases - np.sum(np.square(sample))) / cases)
    share = min(1.0, max(noise / distance if distance > 0 else 1.0, 1e-3))
    return np.asarray((1 - share) * sample + share * target)
