"""How far features are from those of the training cases: Mahalanobis distance and the largest single deviation."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from pnol_jax.calibration.record import check_rows, read_array

QUANTILE = 0.02
LEAST = 0.02  # least deviation of a feature: they are logarithms or in units of the channel's deviation


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class FeatureGaussian:
    """Mean, deviations, whitening and tails of features over the training cases."""

    mean: jax.Array  # (width,)
    deviation: jax.Array  # (width,)
    whitening: jax.Array  # (width, width), of standardised features: z W has the unit covariance
    middle: jax.Array  # (width,), medians
    tails: jax.Array  # (2, width), how far below and above them the outer QUANTILE lies

    @classmethod
    def fit(cls, rows: NDArray[Any]) -> "FeatureGaussian":
        """From the features of training cases, (cases, width).

        Raises:
            InputError: no cases, or features that are not numbers.
        """
        found = check_rows(rows, None, "features").astype(np.float64)
        mean, deviation = found.mean(axis=0), found.std(axis=0) + LEAST
        covariance = shrunk((found - mean) / deviation)
        whitening = np.linalg.inv(np.linalg.cholesky(covariance)).T
        low, middle, high = np.quantile(found, [QUANTILE, 0.5, 1 - QUANTILE], axis=0)
        tails = np.stack([middle - low, high - middle]) + LEAST
        return cls(*(jnp.asarray(leaf, float) for leaf in (mean, deviation, whitening, middle, tails)))

    def distances(self, features: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Of each case, (batch, width) -> (batch,): log Mahalanobis distance per feature, and the largest deviation.

        The second is a test of each number by itself, in units of its tail on that side: whether any band has a power,
        or the field a value, that training did not show. The first dilutes among all what one of them does.
        """
        z = (features - self.mean.astype(features.dtype)) / self.deviation.astype(features.dtype)
        white = z @ self.whitening.astype(features.dtype)
        off, tails = features - self.middle.astype(features.dtype), self.tails.astype(features.dtype)
        largest = jnp.max(jnp.abs(off) / jnp.where(off < 0, tails[0], tails[1]), axis=-1)
        return jnp.log(jnp.mean(jnp.square(white), axis=-1) + 1e-6) / 2, jnp.log(largest + 1e-6)

    def to_dict(self) -> dict[str, jax.Array]:
        """The arrays by name."""
        return {name: getattr(self, name) for name in _ARRAYS}

    @classmethod
    def from_dict(cls, arrays: Mapping[str, Any], lead: str) -> "FeatureGaussian":
        """The inverse of `to_dict`, with names that begin with `lead`."""
        return cls(*(read_array(arrays, lead + name) for name in _ARRAYS))


_ARRAYS = ("mean", "deviation", "whitening", "middle", "tails")


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
