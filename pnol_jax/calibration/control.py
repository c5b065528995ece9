"""Risk control: a band whose share outside is small for this calibration set, with a stated confidence."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from pnol_jax.calibration.bounds import binomial_p_value, hoeffding_bentkus_p_value, least_for_risk
from pnol_jax.calibration.conformity import Kind, check_scores, finite_factor
from pnol_jax.calibration.modulation import Modulation, ModulationKind
from pnol_jax.calibration.protocol import Asked
from pnol_jax.calibration.record import check_enough, exact
from pnol_jax.calibration.recorded import Recorded
from pnol_jax.predictive import Predictive

STATEMENTS: Mapping[str, str] = {
    "pointwise": "the share of domain and channels outside is on average at most {risk:.3g}",
    "simultaneous": "the truth of a new case leaves the band anywhere with a probability of at most {risk:.3g}",
}


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class RiskControl(Recorded):
    """A band of a `Modulation` whose risk is at most 1 - level with probability `confidence` over calibration sets.

    A conformal band keeps its level on average over calibration sets; the one at hand may do worse. This one is wider:
    its factor is the smallest that tests do not reject, going down from large ones (Angelopoulos, Bates, Candes,
    Jordan, Lei 2021, Learn then test; the risk falls with the factor, so that no correction for many tests is needed).
    "pointwise": the loss of a case is its share outside, tested by Hoeffding's and Bentkus' bounds; "simultaneous": it
    is 1 if the truth is outside anywhere, tested by the binomial distribution, which is exact. The n calibration cases
    and new ones must be independent draws of one distribution.
    """

    method: ClassVar[str] = "risk_control"

    factor: jax.Array  # ()
    floor: jax.Array  # () or (channels,)
    level: float = field(metadata={"static": True})
    kind: Kind = field(metadata={"static": True})
    confidence: float = field(metadata={"static": True})
    cases: int = field(metadata={"static": True})
    modulation: ModulationKind = field(default="std", metadata={"static": True})

    @classmethod
    def from_scores(
        cls,
        scores: ArrayLike,
        level: float,
        kind: Kind,
        confidence: float,
        floor: ArrayLike = 0.0,
        modulation: ModulationKind = "std",
    ) -> "RiskControl":
        """From the `conformity_scores` of calibration cases, (cases, quantiles), of the same kind, floor, modulation.

        Raises:
            InputError: numbers outside (0, 1); fewer cases than they need; scores of another kind, or not finite.
        """
        rows = check_scores(np.asarray(scores), kind)
        cases, quantiles = rows.shape
        risk = float(1 - exact(level, "calibration.level"))
        rejected = float(1 - exact(confidence, "calibration.confidence"))
        why = f"by which no loss at all shows a risk of {risk:.3g} with confidence {confidence:g}"
        check_enough(cases, least_for_risk(risk, confidence), why)
        p_value = binomial_p_value if kind == "simultaneous" else hoeffding_bentkus_p_value
        outside = _most(lambda number: p_value(number / quantiles, cases, risk) <= rejected, rows.size)
        factor = finite_factor(float(np.partition(rows, rows.size - outside - 1, axis=None)[rows.size - outside - 1]))
        floor = jnp.asarray(floor, float)
        return cls(jnp.asarray(factor, float), floor, float(level), kind, float(confidence), cases, modulation)

    def __call__(self, predictive: Predictive, asked: Asked | None = None) -> Predictive:
        """The same distribution, with lower and upper set."""
        return Modulation(self.floor, self.modulation, self.level).band(predictive, self.factor)

    @property
    def statement(self) -> str:
        """What is promised, in words."""
        return (
            f"with a probability of at least {self.confidence:g} over the {self.cases} calibration cases, "
            f"{STATEMENTS[self.kind].format(risk=1 - self.level)}, if cases are independent draws of one distribution"
        )


def _most(passes: Callable[[int], bool], end: int) -> int:
    """The largest number below `end` that passes, where 0 does and all after one that does not, do not."""
    low, high = 0, end
    for _ in range(math.ceil(math.log2(max(end, 2))) + 1):
        middle = (low + high) // 2
        low, high = (middle, high) if middle < end and passes(middle) else (low, middle)
    return low
