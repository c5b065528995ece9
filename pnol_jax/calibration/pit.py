"""Isotonic recalibration of the probability integral transform: a monotone map of quantiles."""

from dataclasses import dataclass, field, replace
from statistics import NormalDist
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy.special import ndtri
from jax.typing import ArrayLike
from numpy.typing import NDArray

from pnol_jax.calibration.protocol import Asked
from pnol_jax.calibration.record import check_enough, check_rows
from pnol_jax.calibration.recorded import Recorded
from pnol_jax.predictive import Predictive
from pnol_jax.scores.measure import field_mean, residual

KNOTS = np.linspace(-5, 5, 201)  # in standard deviations
SHARES = np.array([NormalDist().cdf(z) for z in KNOTS])


def pit_scores(predictive: Predictive, truth: jax.Array, weights: ArrayLike) -> jax.Array:
    """The share of domain and channels whose standardised residual is at most each of KNOTS, (batch, knots).

    That is the empirical distribution of the Gaussian's PIT at SHARES; in residuals its tails do not round to 0 and 1.
    """
    error = residual(predictive, truth)
    z = jnp.where(error == 0, 0, error / predictive.std)

    def below(knot: jax.Array) -> jax.Array:
        return field_mean((z <= knot).astype(z.dtype), weights)

    return jnp.transpose(lax.map(below, jnp.asarray(KNOTS, z.dtype)))


def least_for(level: float) -> int:
    """The fewest cases of which two lie outside the central interval of a level, if all points of a case do."""
    return int(np.ceil(2 / (1 - level) - 1e-9))


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class PitRecalibration(Recorded):
    """The predictive whose quantile p is the quantile R^-1(p) of the Gaussian, R(p) the share of truths below p.

    R is the isotonic fit to the empirical distribution of the calibration cases' PIT (Kuleshov, Fenner, Ermon 2018,
    Accurate uncertainties for deep learning using calibrated regression, Algorithm 1), with one more case that follows
    the Gaussian, so that it increases strictly. In standardised residuals it is a monotone map g, z -> Phi^-1(R^-1(
    Phi(z))), which moves samples and stated quantiles; mean and variance are those of mean + std g(z), z normal; the
    band is the central interval of `level`.
    """

    method: ClassVar[str] = "pit_recalibration"
    kind: ClassVar[str] = "pointwise"

    given: jax.Array  # (knots,), where g is `knots`
    knots: jax.Array  # (knots,)
    shift: jax.Array  # (), the mean of g
    factor: jax.Array  # (), the variance of g
    level: float = field(metadata={"static": True})
    cases: int = field(metadata={"static": True})

    @classmethod
    def from_scores(cls, scores: ArrayLike, level: float) -> "PitRecalibration":
        """From the `pit_scores` of calibration cases, (cases, knots).

        Raises:
            InputError: too few cases for the level, or scores that are not numbers.
        """
        rows = check_rows(scores, KNOTS.size, "PIT scores")
        check_enough(len(rows), least_for(level), f"so that two can lie outside an interval of level {level:g}")
        share = (rows.sum(axis=0) + SHARES) / (len(rows) + 1)
        given = _z(np.maximum.accumulate(share))
        shift, factor = _moments(given)
        arrays = {"given": given, "knots": KNOTS, "shift": shift, "factor": factor}
        return cls(**{name: jnp.asarray(leaf, float) for name, leaf in arrays.items()}, level=level, cases=len(rows))

    def __call__(self, predictive: Predictive, asked: Asked | None = None) -> Predictive:
        """The recalibrated distribution, with its central interval as the band."""
        mean, std = predictive.mean, predictive.std

        def moved(values: jax.Array | None) -> jax.Array | None:
            return None if values is None else mean + std * self._map((values - mean) / jnp.where(std > 0, std, 1))

        low, high = (mean + std * self._map(ndtri(jnp.asarray(q, float))) for q in self._ends)
        return replace(
            predictive,
            mean=mean + self.shift.astype(mean.dtype) * std,
            aleatoric=self.factor.astype(mean.dtype) * predictive.aleatoric,
            epistemic=self.factor.astype(mean.dtype) * predictive.epistemic,
            samples=moved(predictive.samples),
            quantiles=moved(predictive.quantiles),
            lower=low.astype(mean.dtype),
            upper=high.astype(mean.dtype),
        )

    @property
    def _ends(self) -> tuple[float, float]:
        return (1 - self.level) / 2, (1 + self.level) / 2

    def _map(self, z: jax.Array) -> jax.Array:
        """g: linear between the knots, a shift beyond them."""
        inside = jnp.clip(z, self.given[0], self.given[-1])
        mapped: jax.Array = jnp.interp(inside, self.given, self.knots) + (z - inside)
        return mapped.astype(z.dtype)

    @property
    def statement(self) -> str:
        """What is promised, in words."""
        return (
            "the truth is inside on a share of domain and channels that is on average the level, in the limit of many "
            f"calibration cases; there were {self.cases}, and no promise for a finite number"
        )


def _z(shares: NDArray[Any]) -> NDArray[Any]:
    return np.array([NormalDist().inv_cdf(float(share)) for share in np.clip(shares, 1e-12, 1 - 1e-12)])


def _moments(given: NDArray[Any]) -> tuple[float, float]:
    """Mean and variance of g of a normal variable, by the midpoints of equal shares."""
    z = _z((np.arange(4000) + 0.5) / 4000)
    inside = np.clip(z, given[0], given[-1])
    mapped = np.interp(inside, given, KNOTS) + (z - inside)
    return float(mapped.mean()), float(mapped.var() / z.var())
