"""One number in [0, 1] for how strange an input is, and an alarm of a stated rate."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from pnol_jax.calibration.protocol import Asked
from pnol_jax.calibration.record import (
    Arrays,
    Metadata,
    check_enough,
    check_rows,
    exact,
    read_array,
    read_cases,
    read_share,
)
from pnol_jax.ood.components import Components
from pnol_jax.predictive import Predictive

REFERENCE = 0.5  # share of the calibration cases that the components are measured against, where as many can be spared
LEAST_REFERENCE = 10
BEYOND = 0.25  # over which the number still rises after the strangest calibration case, in deviations
APART = 1e-3  # least distance between ranked cases, in deviations: equal scores have the rank of their lowest


def least_for(false_alarm: float) -> int:
    """The fewest calibration cases from which an alarm of this rate can be had."""
    return _ranked(false_alarm) + LEAST_REFERENCE


def _ranked(false_alarm: float) -> int:
    """The fewest cases among which a rank of this rate exists."""
    return math.ceil(1 / exact(false_alarm, "ood.false_alarm")) - 1


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Detector:
    """1 - p, p the conformal p-value of the largest of several components, each in deviations of the calibration cases.

    p is the share of calibration cases, this one included, that are at least as strange (Vovk, Gammerman, Shafer 2005;
    Bates, Candes, Lei, Romano, Sesia 2023, Testing for outliers with conformal p-values), interpolated from above so
    that it is continuous. For a case exchangeable with them P(p <= a) <= a: an alarm at 1 - p >= 1 - false_alarm goes
    off falsely at most so often.
    """

    components: Components
    centre: jax.Array  # (components,), median of the reference cases
    scale: jax.Array  # (components,)
    scores: jax.Array  # (cases,), increasing
    false_alarm: float = field(metadata={"static": True})
    cases: int = field(metadata={"static": True})

    @classmethod
    def calibrate(cls, components: Components, rows: NDArray[Any], false_alarm: float) -> "Detector":
        """From the components of calibration cases, (cases, components), in an order without meaning.

        Raises:
            InputError: fewer cases than the rate of false alarms needs, or components that are not numbers.
        """
        found = check_rows(rows, None, "ood components")
        why = f"for a false alarm rate of {false_alarm:g}: some to measure deviations by, the others to rank among"
        check_enough(len(found), least_for(false_alarm), why)
        first = min(max(LEAST_REFERENCE, round(REFERENCE * len(found))), len(found) - _ranked(false_alarm))
        centre, high = np.quantile(found[:first], [0.5, 0.84], axis=0)
        scale = np.maximum(high - centre, 1e-6)
        steps = APART * np.arange(len(found) - first)
        scores = np.sort(np.max((found[first:] - centre) / scale, axis=1)) - steps
        scores = np.maximum.accumulate(scores) + steps
        middle, unit, ordered = (jnp.asarray(leaf, float) for leaf in (centre, scale, scores))
        return cls(components, middle, unit, ordered, float(false_alarm), len(scores))

    def score(self, raw: jax.Array) -> jax.Array:
        """The largest component in deviations, (batch, components) -> (batch,)."""
        return jnp.max((raw - self.centre.astype(raw.dtype)) / self.scale.astype(raw.dtype), axis=-1)

    def strangeness(self, score: jax.Array) -> jax.Array:
        """1 - p of such scores, (batch,) -> (batch,); what is not a number is as strange as can be."""
        scores = self.scores.astype(score.dtype)
        count = self.cases + 1
        ends = jnp.concatenate([scores, scores[-1:] + BEYOND])
        heights = jnp.arange(count, dtype=score.dtype) / count
        found = jnp.interp(score, ends, heights)
        return jnp.where(jnp.isnan(score), self.cases / count, found)

    def __call__(self, predictive: Predictive, asked: Asked) -> jax.Array:
        """1 - p of each case, (batch,), from the posterior's predictive before calibration."""
        return self.strangeness(self.score(self.components(predictive, asked)))

    @property
    def guarantee(self) -> Metadata:
        """What is promised, as plain data."""
        statement = (
            f"a case exchangeable with the {self.cases} calibration cases exceeds {1 - self.false_alarm:g} with a "
            f"probability of at most {self.false_alarm:g}"
        )
        return {
            "false_alarm": self.false_alarm,
            "cases": self.cases,
            "components": list(self.components.names),
            "statement": statement,
        }

    def to_dict(self) -> tuple[Arrays, Metadata]:
        """Arrays by dotted name, and the guarantee."""
        own = {name: getattr(self, name) for name in ("centre", "scale", "scores")}
        return own | self.components.to_dict(), self.guarantee

    @classmethod
    def from_dict(cls, arrays: Mapping[str, Any], metadata: Mapping[str, Any]) -> "Detector":
        """The inverse of `to_dict`; other arrays may stand beside."""
        return cls(
            components=Components.from_dict(arrays, "epistemic" in metadata.get("components", ())),
            centre=read_array(arrays, "centre"),
            scale=read_array(arrays, "scale"),
            scores=read_array(arrays, "scores"),
            false_alarm=read_share(metadata, "false_alarm"),
            cases=read_cases(metadata),
        )
