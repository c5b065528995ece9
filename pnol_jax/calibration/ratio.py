"""How much more likely an input is in a new distribution than in that of calibration: a classifier's odds."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray

from pnol_jax.calibration.protocol import Asked
from pnol_jax.calibration.record import Arrays, check_rows, read_array
from pnol_jax.errors import InputError
from pnol_jax.features import SpectralFeatures

RIDGE = 1.0  # of the standardised weights: with few cases classes are always separable
STEPS = 50
LARGEST = 8.0  # of the logarithm of the ratio: beyond it one case would outweigh thousands


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class LikelihoodRatio:
    """exp(intercept + slope . standardised features): the odds of a logistic regression, per case of each class.

    Odds of a classifier between inputs of the new distribution and old ones, times the old number over the new one,
    estimate the ratio of densities (Tibshirani, Barber, Candes, Ramdas 2019).
    """

    features: SpectralFeatures
    centre: jax.Array  # (width,)
    deviation: jax.Array  # (width,)
    slope: jax.Array  # (width,)
    intercept: jax.Array  # ()

    @classmethod
    def fit(cls, features: SpectralFeatures, old: ArrayLike, new: ArrayLike) -> "LikelihoodRatio":
        """From the features of old and new inputs, (cases, width) each.

        Raises:
            InputError: fewer than two cases of a kind, or features that are not numbers.
        """
        rows = [check_rows(part, features.width, f"features of {what} inputs") for part, what in _named(old, new)]
        if min(map(len, rows)) < 2:
            raise InputError(
                f"likelihood ratio: got {len(rows[0])} old and {len(rows[1])} new inputs, expected 2 of each"
            )
        joined = np.concatenate(rows)
        centre, deviation = joined.mean(axis=0), joined.std(axis=0) + 1e-9
        label = np.repeat([0.0, 1.0], [len(rows[0]), len(rows[1])])
        slope, intercept = _logistic((joined - centre) / deviation, label)
        intercept -= np.log(len(rows[1]) / len(rows[0]))
        return cls(features, *(jnp.asarray(leaf, float) for leaf in (centre, deviation, slope, intercept)))

    def of(self, features: jax.Array) -> jax.Array:
        """The ratio of cases by their features, (batch, width) -> (batch,)."""
        dtype = features.dtype
        standard = (features - self.centre.astype(dtype)) / self.deviation.astype(dtype)
        odds = standard @ self.slope.astype(dtype) + self.intercept.astype(dtype)
        return jnp.exp(jnp.clip(odds, -LARGEST, LARGEST))

    def __call__(self, asked: Asked) -> jax.Array:
        """The ratio of each case, (batch,)."""
        return self.of(self.features(asked.inputs, asked.grid))

    def to_dict(self) -> Arrays:
        """The arrays by name."""
        own = {name: getattr(self, name) for name in _ARRAYS}
        return own | {f"features.{name}": value for name, value in self.features.to_dict().items()}

    @classmethod
    def from_dict(cls, arrays: Mapping[str, Any], lead: str) -> "LikelihoodRatio":
        """The inverse of `to_dict`, with names that begin with `lead`."""
        features = SpectralFeatures.from_dict(arrays, f"{lead}features.")
        return cls(features, *(read_array(arrays, lead + name) for name in _ARRAYS))


_ARRAYS = ("centre", "deviation", "slope", "intercept")


def _named(old: ArrayLike, new: ArrayLike) -> tuple[tuple[ArrayLike, str], tuple[ArrayLike, str]]:
    return (old, "old"), (new, "new")


def _logistic(rows: NDArray[Any], label: NDArray[Any]) -> tuple[NDArray[Any], float]:
    """Slope and intercept by Newton's method, with a ridge on the slope."""
    design = np.concatenate([rows, np.ones((len(rows), 1))], axis=1)
    penalty = np.append(np.full(rows.shape[1], RIDGE), 1e-9)
    found = np.zeros(design.shape[1])
    for _ in range(STEPS):
        odds = design @ found
        share = 0.5 * (1 + np.tanh(odds / 2))
        gradient = design.T @ (share - label) + penalty * found
        curvature = design.T @ ((share * (1 - share))[:, None] * design) + np.diag(penalty)
        step = np.linalg.solve(curvature, gradient)
        found = found - step * min(1.0, 5 / max(float(np.abs(step).max()), 1e-300))
        if np.abs(step).max() < 1e-10:
            break
    return found[:-1], float(found[-1])
