"""The scores of a comparison: what each is made of, and what of it is to be small."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.comparison.opened import Opened, SharedCases
from experiments.results import DRAWN, TestResults, ratio
from pnol_jax import scores
from pnol_jax.scores.bootstrap import mean

Array = NDArray[Any]
Loss = Callable[[float, float], float]  # of a value and the level of the run's intervals


def itself(value: float, level: float) -> float:
    """The score is a loss."""
    return value


def off_level(value: float, level: float) -> float:
    """How far a share is from the one that was promised."""
    return abs(value - level)


def off_one(value: float, level: float) -> float:
    """How far a ratio is from one, above as below."""
    return abs(float(np.log(value))) if value > 0 else float("inf")


@dataclass(frozen=True)
class Score:
    """A figure of a run on a test set.

    `parts` are the numbers of a case that it is made of, by name; `statistic` makes the figure of their rows, (cases,)
    of one part or (cases, parts); `loss` is what is to be small, None for what is shown and not ranked; `kind` is the
    promise that it measures: runs that promise another thing are not ranked by it.
    """

    name: str
    label: str
    note: str
    parts: tuple[str, ...]
    statistic: Callable[[Array], Any] = mean
    loss: Loss | None = itself
    share: bool = False
    kind: str | None = None

    def rows(self, entry: TestResults, test: SharedCases) -> Array | None:
        """The numbers of the cases, (cases,), (cases, parts) or (cases, steps, parts); None where a run has none."""
        if any(name not in self._source(entry) for name in self.parts):
            return None
        rows = np.stack([np.asarray(self._source(entry)[name], np.float64) for name in self.parts], axis=-1)
        if self.rolled:
            rows = rows.mean(axis=1)
        cases = len(test.cases)
        if len(rows) > cases:
            rows = rows.reshape(cases, len(rows) // cases, -1)
        if self.statistic is mean:
            return np.asarray(rows.reshape(cases, -1).mean(axis=1))
        return rows

    def value(self, rows: Array) -> float:
        """The figure of the cases' numbers."""
        return float(self.statistic(rows if rows.ndim < 3 else rows.reshape(-1, rows.shape[-1])))

    def ranks(self, run: Opened) -> bool:
        """Whether the run is ranked by it."""
        return self.loss is not None and self.kind in (None, run.kind)

    @property
    def rolled(self) -> bool:
        """Whether it is of rollouts: all lead times, each step from the draw's or the mean's own states."""
        return self.name.startswith("rollout")

    def _source(self, entry: TestResults) -> Any:
        return (entry.rollout or {}) if self.rolled else entry.figures


def _ause(rows: Array) -> float:
    return scores.ause(*rows.T)


SCORES = (
    Score("relative_l2", "relative L2", "error of the mean", ("relative_l2",), share=True),
    Score("crps", "CRPS", "continuous ranked probability score", ("crps",)),
    Score("energy_score", "energy score", "of whole fields, from samples", ("energy_score",)),
    Score("nll", "NLL", "negative log-likelihood of a Gaussian", ("nll",)),
    Score(
        "coverage", "inside the interval", "of the run's level, at points", ("coverage",), loss=off_level, share=True
    ),
    Score(
        "band_coverage",
        "inside the band",
        "calibrated, at points",
        ("band_coverage",),
        loss=off_level,
        share=True,
        kind="pointwise",
    ),
    Score(
        "band_simultaneous_coverage",
        "wholly inside it",
        "share of the cases",
        ("band_simultaneous_coverage",),
        loss=off_level,
        share=True,
        kind="simultaneous",
    ),
    Score("spread_skill", "spread / skill", "1: as large as the error", ("rmse", "spread"), ratio, off_one),
    Score("ause", "AUSE", "whether uncertain cases are the wrong ones", ("rmse", "spread"), _ause),
    Score("sharpness", "sharpness", "mean standard deviation", ("sharpness",), loss=None),
    Score("band_width", "band width", "mean, calibrated", ("band_width",), loss=None),
    Score("rollout_relative_l2", "relative L2", "of the mean, fed with itself", ("model",), share=True),
    Score("rollout_draws_crps", "CRPS", "of draws", (DRAWN + "crps",)),
    Score("rollout_draws_energy_score", "energy score", "of draws", (DRAWN + "energy_score",)),
    Score(
        "rollout_draws_coverage",
        "inside the interval",
        "of draws, of the run's level",
        (DRAWN + "coverage",),
        loss=off_level,
        share=True,
    ),
)
