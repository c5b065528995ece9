"""Everything that a comparison says, computed; and its numbers as plain data."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
from rich.progress import track

from experiments.comparison.cost import Cost, costs, front
from experiments.comparison.one_case import Shown, look
from experiments.comparison.opened import CONSOLE, Opened, SharedCases, open_runs
from experiments.comparison.score import SCORES, Score
from experiments.comparison.standings import Standing, against, standings
from experiments.results import TestResults, test_results
from pnol_jax.scores import Estimate


@dataclass(frozen=True)
class Scored:
    """A test set: the results of every run, and by score how they stand and how far they are from the baseline."""

    test: SharedCases
    results: tuple[TestResults, ...]
    standings: dict[str, list[Standing | None]]
    against: dict[str, list[Estimate | None]]


@dataclass(frozen=True)
class Comparison:
    """`tests` of all test sets, `costs` and the `shown` case, number `case` of the first set, in the runs' order."""

    runs: tuple[Opened, ...]
    tests: tuple[Scored, ...]
    costs: tuple[Cost, ...]
    case: int
    shown: tuple[Shown, ...]
    left_out: tuple[str, ...]
    baseline: int | None
    device: str

    @property
    def labels(self) -> list[str]:
        """What the runs are called."""
        return [run.label for run in self.runs]

    @property
    def crps(self) -> list[float]:
        """The CRPS of every run on the first test set."""
        return [math.nan if found is None else found.estimate.value for found in self.tests[0].standings["crps"]]

    @property
    def front(self) -> list[int]:
        """The runs that none beats in both the cost of a prediction and CRPS, the cheapest first."""
        return front([cost.moments.median for cost in self.costs], self.crps)

    def numbers(self) -> dict[str, Any]:
        """All of it as JSON can hold it; what is not finite is null."""
        about = [_about(run, cost) for run, cost in zip(self.runs, self.costs, strict=True)]
        numbers: dict[str, Any] = _plain(
            {
                "runs": about,
                "tests": [self._scores(entry) for entry in self.tests],
                "pareto_front": [self.labels[position] for position in self.front],
                "baseline": None if self.baseline is None else self.labels[self.baseline],
                "left_out": self.left_out,
                "device": self.device,
            }
        )
        return numbers

    def _scores(self, scored: Scored) -> dict[str, Any]:
        found: dict[str, dict[str, Any]] = {label: {} for label in self.labels}
        for name, stands in scored.standings.items():
            for label, stand, far in zip(self.labels, stands, scored.against[name], strict=True):
                if stand is not None:
                    found[label][name] = _standing(stand) | ({} if far is None else {"against": far._asdict()})
        test = scored.test
        about = {"name": test.name, "grid": test.cases.groups[0].grid.shape, "cases": len(test.cases)}
        return about | {"digest": test.digest, "scores": found}


def compared(folders: Sequence[Path], limit: int | None = None, baseline: Path | None = None) -> Comparison:
    """Compare runs on the test cases that they share, at most `limit` of each set.

    Raises:
        InputError: they cannot be compared; see `open_runs`.
    """
    folders = list(folders)
    if baseline is not None and baseline.resolve() not in [folder.resolve() for folder in folders]:
        folders.insert(0, baseline)
    together = open_runs(folders, limit)
    first = None if baseline is None else [run.folder.resolve() for run in together.runs].index(baseline.resolve())
    results = [
        _results(run, together.tests) for run in track(together.runs, "scoring", console=CONSOLE, transient=True)
    ]
    tests = [
        _scored(together.runs, test, entries, first)
        for test, entries in zip(together.tests, zip(*results, strict=True), strict=True)
    ]
    typical = tests[0].results[0].shown
    case = typical.get("median", typical["best"])
    return Comparison(
        runs=together.runs,
        tests=tuple(tests),
        costs=tuple(costs(together.runs, together.tests[0], case)),
        case=case,
        shown=tuple(look(run, together.tests[0], case) for run in together.runs),
        left_out=together.left_out,
        baseline=first,
        device=jax.devices()[0].device_kind,
    )


def _results(run: Opened, tests: Sequence[SharedCases]) -> list[TestResults]:
    return [entry for test in tests for entry in test_results(run.experiment, run.model, test.name, test.cases)]


def _scored(
    runs: Sequence[Opened], test: SharedCases, results: tuple[TestResults, ...], baseline: int | None
) -> Scored:
    stand: dict[str, list[Standing | None]] = {}
    far: dict[str, list[Estimate | None]] = {}
    for score in SCORES:
        found = standings(score, runs, results, test)
        if any(one is not None for one in found):
            stand[score.name] = found
            far[score.name] = _far(score, runs, results, test, baseline)
    return Scored(test, results, stand, far)


def _far(
    score: Score, runs: Sequence[Opened], results: Sequence[TestResults], test: SharedCases, baseline: int | None
) -> list[Estimate | None]:
    return [None] * len(runs) if baseline is None else against(score, baseline, runs, results, test)


def _about(run: Opened, cost: Cost) -> dict[str, Any]:
    config = run.experiment.config
    return {
        "label": run.label,
        "folder": str(run.folder),
        "operator": str(type(config.operator).__struct_config__.tag),
        "posterior": str(type(config.posterior).__struct_config__.tag),
        "training_cases": run.training_cases,
        "steps": config.training.steps,
        "level": run.level,
        "calibration": run.model.guarantee,
        "cost": asdict(cost),
    }


def _standing(stand: Standing) -> dict[str, Any]:
    behind = {} if stand.behind is None else {"behind": stand.behind._asdict(), "tied": stand.tied}
    return stand.estimate._asdict() | {"best": stand.best} | behind


def _plain(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _plain(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_plain(value) for value in tree]
    return None if isinstance(tree, float) and not math.isfinite(tree) else tree
