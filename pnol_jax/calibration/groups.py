"""Group-conditional bands: each kind of case keeps the level by itself."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from pnol_jax.calibration.conformal import STATEMENTS
from pnol_jax.calibration.conformity import Kind, conformal_factor, least_cases
from pnol_jax.calibration.modulation import Modulation, ModulationKind
from pnol_jax.calibration.protocol import Asked, needed
from pnol_jax.calibration.record import one_of
from pnol_jax.calibration.recorded import READERS, Reader, Recorded
from pnol_jax.errors import InputError
from pnol_jax.predictive import Predictive
from pnol_jax.scores.measure import field_mean

Grouping = Literal["spread", "input"]
GROUPINGS: tuple[Grouping, ...] = ("spread", "input")
EDGES = 0.25  # share of the calibration cases by which groups are told apart, and that calibrates none


def group_variable(predictive: Predictive, asked: Asked, by: Grouping, unit: ArrayLike) -> jax.Array:
    """What a case is grouped by, (batch,): the root mean square over domain and channels, each channel in its unit.

    "spread": of the predicted standard deviation; "input": of the inputs. `unit` is (outputs,) or (inputs,), or one.
    """
    one_of(by, GROUPINGS, "calibration.by")
    square = predictive.variance if by == "spread" else jnp.square(asked.inputs)
    return jnp.sqrt(field_mean(square / jnp.square(jnp.asarray(unit, square.dtype)), asked.grid.weights()))


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class GroupConformal(Recorded):
    """A split conformal band with a factor for each group of cases, so that the level holds in every group.

    Groups are intervals of a function of the input (Mondrian conformal prediction: Vovk, Gammerman, Shafer 2005,
    Algorithmic learning in a random world). Their edges are quantiles over some of the calibration cases,
    which then calibrate no factor: a new case and those that do are exchangeable given their groups.
    """

    method: ClassVar[str] = "group_conformal"
    readers: ClassVar[Mapping[str, Reader]] = {
        **READERS,
        "by": lambda metadata: one_of(metadata.get("by"), GROUPINGS, "calibration.by"),
    }

    factors: jax.Array  # (groups,)
    edges: jax.Array  # (groups - 1,), increasing
    unit: jax.Array  # () or (channels,) of what is grouped by
    floor: jax.Array  # () or (channels,)
    by: Grouping = field(metadata={"static": True})
    level: float = field(metadata={"static": True})
    kind: Kind = field(metadata={"static": True})
    cases: int = field(metadata={"static": True})  # of the smallest group
    modulation: ModulationKind = field(default="std", metadata={"static": True})

    @classmethod
    def from_scores(
        cls,
        scores: ArrayLike,
        variable: ArrayLike,
        groups: int,
        level: float,
        kind: Kind,
        *,
        by: Grouping = "spread",
        unit: ArrayLike = 1.0,
        floor: ArrayLike = 0.0,
        modulation: ModulationKind = "std",
    ) -> "GroupConformal":
        """From `conformity_scores` (cases, quantiles) and `group_variable` (cases,), in an order without meaning.

        Raises:
            InputError: fewer than two groups, or a group of fewer cases than the level needs.
        """
        rows, values = np.asarray(scores), np.asarray(variable)
        if groups < 2 or values.shape != rows.shape[:1] or not np.all(np.isfinite(values)):
            raise InputError(
                f"groups: got {groups} of {values.shape} numbers for {len(rows)} cases, expected at least 2, and one "
                "finite number a case"
            )
        first = _for_edges(len(rows), groups)
        if len(rows) < least_in_groups(groups, level):
            raise InputError(_too_few(len(rows), groups, level))
        edges = np.quantile(values[:first], np.arange(1, groups) / groups)
        member = np.searchsorted(edges, values[first:], side="right")
        sizes = np.bincount(member, minlength=groups)
        if sizes.min() < least_cases(level):
            raise InputError(f"{_too_few(len(rows), groups, level)}; the groups hold {sizes.tolist()}")
        factors = [conformal_factor(rows[first:][member == group], level, kind) for group in range(groups)]
        found, ends, scale, least = (jnp.asarray(leaf, float) for leaf in (factors, edges, unit, floor))
        return cls(found, ends, scale, least, by, float(level), kind, int(sizes.min()), modulation)

    def __call__(self, predictive: Predictive, asked: Asked | None = None) -> Predictive:
        """The same distribution, with the band of each case's group."""
        variable = group_variable(predictive, needed(asked, "group_conformal"), self.by, self.unit)
        group = jnp.searchsorted(self.edges.astype(variable.dtype), variable, side="right")
        return Modulation(self.floor, self.modulation, self.level).band(predictive, self.factors[group])

    @property
    def statement(self) -> str:
        """What is promised, in words."""
        groups = len(self.factors)
        return (
            f"{STATEMENTS[self.kind]}, in each of {groups} groups of cases by {_NAMES[self.by]}, if it is "
            f"exchangeable with the calibration cases of its group ({self.cases} or more)"
        )


_NAMES: Mapping[str, str] = {"spread": "their predicted spread", "input": "the size of their inputs"}


def _for_edges(cases: int, groups: int) -> int:
    return max(groups, round(EDGES * cases))


def least_in_groups(groups: int, level: float) -> int:
    """The fewest calibration cases from which every group can have its own factor, if groups come out even."""
    cases = groups * (1 + least_cases(level))
    while cases - _for_edges(cases, groups) < groups * least_cases(level):
        cases += 1
    return cases


def enough_for_groups(groups: int, level: float) -> int:
    """Calibration cases that will do though the sizes of groups are random: twice what they need on average."""
    return int(np.ceil(2 * groups * least_cases(level) / (1 - EDGES)))


def _too_few(cases: int, groups: int, level: float) -> str:
    return (
        f"calibration: got {cases} cases, expected about {enough_for_groups(groups, level)} for a level of {level:g} "
        f"in {groups} groups, each of which needs {least_cases(level)}"
    )
