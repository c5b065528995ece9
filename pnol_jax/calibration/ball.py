"""Norm balls: a set of whole fields around the mean, of a radius with a guarantee."""

from dataclasses import dataclass, field
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from pnol_jax.calibration.conformity import conformal_factor
from pnol_jax.calibration.modulation import Modulation, ModulationKind
from pnol_jax.calibration.protocol import Asked
from pnol_jax.calibration.recorded import Recorded
from pnol_jax.predictive import Predictive
from pnol_jax.scores.measure import field_mean


def ball_scores(
    predictive: Predictive,
    truth: jax.Array,
    weights: ArrayLike,
    floor: ArrayLike = 0.0,
    modulation: ModulationKind = "unit",
    level: float = 0.9,
) -> jax.Array:
    """How far the truth is from the centre, (batch, 1): the root mean square over domain and channels of the ratio.

    With the modulation "unit" that is the L2 norm of truth - mean over the domain, each channel in units of its floor.
    """
    shape = Modulation(jnp.asarray(floor, predictive.mean.dtype), modulation, level)
    return jnp.sqrt(field_mean(jnp.square(shape.ratio(predictive, truth)), weights))[:, None]


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class NormBall(Recorded):
    """The set of fields u whose norm ||(u - centre) / modulation||, root mean square, is at most `radius`.

    P(the truth is in the set) >= level: the radius is the ceil((n + 1) level)-th smallest of the cases' norms.

    A ball of functions bounds no point, so a band is another promise: by Chebyshev's inequality a field in the ball is
    within radius / sqrt(outside) of the centre but for a share `outside` of domain and channels. The band is that one;
    with `outside` None there is none. (A band that is calibrated for that promise itself is narrower: Ma, Pitt,
    Azizzadenesheli, Anandkumar 2024, Calibrated uncertainty quantification for operator learning via conformal
    prediction.)
    """

    method: ClassVar[str] = "norm_ball"
    kind: ClassVar[str] = "ball"

    radius: jax.Array  # ()
    floor: jax.Array  # () or (channels,)
    level: float = field(metadata={"static": True})
    outside: float | None = field(metadata={"static": True})
    cases: int = field(metadata={"static": True})
    modulation: ModulationKind = field(default="unit", metadata={"static": True})

    @classmethod
    def from_scores(
        cls,
        scores: ArrayLike,
        level: float,
        outside: float | None = None,
        floor: ArrayLike = 0.0,
        modulation: ModulationKind = "unit",
    ) -> "NormBall":
        """From the `ball_scores` of calibration cases, (cases, 1), of the same floor and modulation.

        Raises:
            InputError: a level outside (0, 1); fewer cases than it needs; scores that are not finite.
        """
        radius = jnp.asarray(conformal_factor(scores, level, "simultaneous"), float)
        return cls(radius, jnp.asarray(floor, float), float(level), outside, len(np.asarray(scores)), modulation)

    @property
    def shape(self) -> Modulation:
        """What the norm is measured with."""
        return Modulation(self.floor, self.modulation, self.level)

    def __call__(self, predictive: Predictive, asked: Asked | None = None) -> Predictive:
        """The same distribution, with the band that the ball implies where one is asked for."""
        if self.outside is None:
            return predictive
        return self.shape.band(predictive, self.radius / self.outside**0.5)

    def holds(self, predictive: Predictive, truth: jax.Array, weights: ArrayLike) -> jax.Array:
        """1 where the truth is in the set, else 0: (batch,)."""
        distance = ball_scores(predictive, truth, weights, self.floor, self.modulation, self.level)[:, 0]
        return (distance <= self.radius).astype(truth.dtype)

    @property
    def statement(self) -> str:
        """What is promised, in words."""
        where = "within the radius of the centre in the root mean square"
        if self.outside is not None:
            where = f"inside the band but for a share of at most {self.outside:g} of domain and channels"
        return (
            f"the truth of a new case is {where} with a probability of at least the level, if it is exchangeable with "
            f"the {self.cases} calibration cases"
        )
