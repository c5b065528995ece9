"""Split conformal bands: calibrated with a guarantee that needs no assumption on the model or the noise."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from pnol_jax.calibration.conformity import Kind, conformal_factor
from pnol_jax.calibration.modulation import Modulation, ModulationKind
from pnol_jax.calibration.protocol import Asked
from pnol_jax.calibration.recorded import Recorded
from pnol_jax.predictive import Predictive

STATEMENTS: Mapping[str, str] = {
    "pointwise": "the truth of a new case is inside on a share of the domain and the channels "
    "that is on average at least the level",
    "simultaneous": "the truth of a new case is inside at every point of its grid and in every channel "
    "with a probability of at least the level",
}


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class SplitConformal(Recorded):
    """The band mean +- factor * max(std, floor), or of another `Modulation`.

    The n calibration cases and a new one must be exchangeable, their grids included, and not seen in training. The
    guarantee is then exact for any n that is accepted, on average over calibration sets.

    "simultaneous": P(the truth is inside at every point of the grid and in every channel) >= level. The factor is the
    ceil((n + 1) level)-th smallest of the cases' suprema (Diquigiovanni, Fontana, Vantini 2022, Conformal prediction
    bands for multivariate functional data, with the modulation max(std, floor)).

    "pointwise": E(share of domain and channels where the truth is inside) >= level: at a point drawn at random from the
    domain of a new case the truth is inside with that probability. At one given point it need not be; that would take a
    factor for each point, and so a single grid. Nor does it hold for the quantile of all ratios of all cases in one
    pool, as if points were cases: where they depend on each other that factor is too small. With q quantiles of each
    case the factor is the ceil(q (n + 1) level)-th smallest of all q n, as if the new case were outside everywhere:
    conformal control of the share outside (Angelopoulos, Bates, Fisch, Lei, Schuster 2024, Conformal risk control,
    Theorem 1). For q = 1 it is the simultaneous rule.
    """

    method: ClassVar[str] = "split_conformal"

    factor: jax.Array  # ()
    floor: jax.Array  # () or (channels,)
    level: float = field(metadata={"static": True})
    kind: Kind = field(metadata={"static": True})
    cases: int = field(metadata={"static": True})
    modulation: ModulationKind = field(default="std", metadata={"static": True})

    @classmethod
    def from_scores(
        cls, scores: ArrayLike, level: float, kind: Kind, floor: ArrayLike = 0.0, modulation: ModulationKind = "std"
    ) -> "SplitConformal":
        """From the `conformity_scores` of calibration cases, (cases, quantiles), of the same kind, floor, modulation.

        Raises:
            InputError: a level outside (0, 1); fewer cases than it needs; scores of another kind, or not finite.
        """
        factor = jnp.asarray(conformal_factor(scores, level, kind), float)
        return cls(factor, jnp.asarray(floor, float), float(level), kind, len(np.asarray(scores)), modulation)

    def __call__(self, predictive: Predictive, asked: Asked | None = None) -> Predictive:
        """The same distribution, with lower and upper set."""
        return Modulation(self.floor, self.modulation, self.level).band(predictive, self.factor)

    @property
    def statement(self) -> str:
        """What is promised, in words."""
        return f"{STATEMENTS[self.kind]}, if it is exchangeable with the {self.cases} calibration cases"
