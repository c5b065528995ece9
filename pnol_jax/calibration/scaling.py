"""Variance scaling: one factor, by maximum likelihood."""

import math
from dataclasses import dataclass, field, replace
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from pnol_jax.calibration.protocol import Asked
from pnol_jax.calibration.recorded import Recorded
from pnol_jax.errors import InputError
from pnol_jax.predictive import Predictive
from pnol_jax.scores.measure import field_mean, residual

# Points of a field may all depend on each other: a deviation from n cases is then itself off by 1 / sqrt(2 n).
LEAST = 10
WHY = "below which a scale is off by more than 22% (1 / sqrt(2 n), where the points of a case depend on each other)"


def squared_scores(predictive: Predictive, truth: jax.Array, weights: ArrayLike) -> jax.Array:
    """(truth - mean)^2 / variance, (batch,): the mean over the domain and the channels."""
    return field_mean(jnp.square(residual(predictive, truth)) / predictive.variance, weights)


def scaled(predictive: Predictive, factor: jax.Array) -> Predictive:
    """The same mean, with variances times a factor, () or a field; samples and quantiles moved by its root."""
    mean = predictive.mean

    def moved(values: jax.Array | None) -> jax.Array | None:
        return None if values is None else mean + jnp.sqrt(factor) * (values - mean)

    return replace(
        predictive,
        aleatoric=factor * predictive.aleatoric,
        epistemic=factor * predictive.epistemic,
        samples=moved(predictive.samples),
        quantiles=moved(predictive.quantiles),
    )


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class VarianceScaling(Recorded):
    """Variances times one factor, and samples moved away from the mean by its root.

    It is the mean of (truth - mean)^2 / variance, which maximises the Gaussian likelihood of the calibration cases.
    """

    method: ClassVar[str] = "variance_scaling"

    factor: jax.Array  # ()
    cases: int = field(metadata={"static": True})

    @classmethod
    def from_scores(cls, scores: ArrayLike) -> "VarianceScaling":
        """From the `squared_scores` of calibration cases, (cases,), of grids as they come.

        Raises:
            InputError: no scores, or scores whose mean is not a positive number.
        """
        rows = np.asarray(scores)
        if rows.ndim != 1 or not rows.size:
            raise InputError(f"squared scores: got shape {rows.shape}, expected (cases,) with at least one case")
        factor = float(np.mean(rows))
        if not (math.isfinite(factor) and factor > 0):
            raise InputError(f"squared scores: got a mean of {factor}, expected it positive, as variances must be")
        return cls(jnp.asarray(factor, float), rows.size)

    def __call__(self, predictive: Predictive, asked: Asked | None = None) -> Predictive:
        """The same mean, with scaled variances, samples and quantiles; a band stays as it is."""
        return scaled(predictive, self.factor)

    @property
    def statement(self) -> str:
        """What is promised, in words."""
        return "the likeliest single factor on the variances; no promise for a finite number of cases"
