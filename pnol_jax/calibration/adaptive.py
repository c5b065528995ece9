"""Adaptive conformal inference: a band that is corrected by what is observed as a rollout goes on."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from pnol_jax import collectives
from pnol_jax.calibration.conformity import check_scores, conformal_factor
from pnol_jax.calibration.modulation import Modulation, ModulationKind
from pnol_jax.calibration.protocol import Asked
from pnol_jax.calibration.recorded import Recorded
from pnol_jax.collectives import CASES
from pnol_jax.predictive import Predictive
from pnol_jax.scores.intervals import simultaneous_coverage


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class AdaptiveConformal(Recorded):
    """A simultaneous band whose miscoverage a_t is moved after every step: a_{t+1} = a_t + rate (1 - level - miss_t).

    The factor is the calibration scores' quantile of level 1 - a_t: infinite where a_t < 1 / (n + 1), zero where
    a_t >= 1. Whatever the trajectory does, the share of misses over T steps is then within
    (max(a_1, 1 - a_1) + rate) / (T rate) of 1 - level. Source: Gibbs, Candes 2021, Adaptive conformal inference under
    distribution shift, Proposition 4.1. Each truth must be seen before the next band is drawn; asked without that, as a
    servable is, it is the split conformal band of its level.
    """

    method: ClassVar[str] = "adaptive_conformal"
    kind: ClassVar[str] = "simultaneous"

    scores: jax.Array  # (cases,), increasing
    floor: jax.Array  # () or (channels,)
    level: float = field(metadata={"static": True})
    rate: float = field(metadata={"static": True})
    cases: int = field(metadata={"static": True})
    modulation: ModulationKind = field(default="std", metadata={"static": True})

    @classmethod
    def from_scores(
        cls,
        scores: ArrayLike,
        level: float,
        rate: float,
        floor: ArrayLike = 0.0,
        modulation: ModulationKind = "std",
    ) -> "AdaptiveConformal":
        """From the simultaneous `conformity_scores` of calibration cases, (cases, 1).

        Raises:
            InputError: a level outside (0, 1); fewer cases than it needs; scores that are not finite.
        """
        rows = check_scores(np.asarray(scores), "simultaneous")
        conformal_factor(rows, level, "simultaneous")
        ordered = jnp.asarray(np.sort(rows[:, 0]), float)
        return cls(ordered, jnp.asarray(floor, float), float(level), float(rate), len(rows), modulation)

    def start(self, batch: int) -> jax.Array:
        """The miscoverage to begin with, (batch,)."""
        return jnp.full(batch, 1 - self.level, self.scores.dtype)

    def factor(self, miscoverage: jax.Array) -> jax.Array:
        """The factors at these miscoverages, (batch,) -> (batch,)."""
        # Less rounding: the level itself must not ask for one more case than it does.
        rank = jnp.ceil((self.cases + 1) * (1 - miscoverage) - 1e-4).astype(int)
        found = self.scores[jnp.clip(rank, 1, self.cases) - 1]
        return jnp.where(rank < 1, 0, jnp.where(rank > self.cases, jnp.inf, found))

    def band(self, predictive: Predictive, miscoverage: jax.Array) -> Predictive:
        """The same distribution, with the band of each case at its miscoverage, (batch,)."""
        factor = self.factor(miscoverage).astype(predictive.mean.dtype)
        return Modulation(self.floor, self.modulation, self.level).band(predictive, factor)

    def update(self, miscoverage: jax.Array, inside: jax.Array) -> jax.Array:
        """The next miscoverage, given 1 where the truth was inside and 0 where not, (batch,)."""
        return miscoverage + self.rate * (1 - self.level - (1 - inside.astype(miscoverage.dtype)))

    def follow(self, by_step: Predictive, truths: jax.Array, weights: ArrayLike) -> tuple[Predictive, jax.Array]:
        """The bands along a trajectory, and whether they held: leaves and truths have a leading axis of steps.

        Returns:
            The predictives with their bands, (steps, batch, *space, channels), and (steps, batch), 1 where the truth
            was wholly inside.
        """

        def step(miscoverage: jax.Array, one: tuple[Predictive, jax.Array]) -> tuple[jax.Array, Any]:
            drawn = self.band(one[0], miscoverage)
            inside = simultaneous_coverage(drawn.band, one[1], weights)
            return self.update(miscoverage, inside), (drawn, inside)

        start = collectives.varying(self.start(truths.shape[1]), CASES)
        followed: tuple[Predictive, jax.Array] = lax.scan(step, start, (by_step, truths))[1]
        return followed

    def __call__(self, predictive: Predictive, asked: Asked | None = None) -> Predictive:
        """The band at the start: that of split conformal prediction."""
        return self.band(predictive, self.start(predictive.mean.shape[0]))

    @property
    def statement(self) -> str:
        """What is promised, in words."""
        return (
            "at the start of a trajectory the truth is inside everywhere with a probability of at least the level, if "
            f"it is exchangeable with the {self.cases} calibration cases; where each truth is seen before the next "
            "band is drawn, the share of steps with the truth inside tends to the level on any trajectory"
        )
