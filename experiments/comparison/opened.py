"""Finished runs opened side by side: what each is called, and whether they have the same problem and test cases."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

from experiments import runs
from experiments.experiment import Experiment, open_experiment, working_type
from experiments.model import Model, load_model
from experiments.report.words import Names, names, points
from pnol_jax.config import ExperimentConfig
from pnol_jax.data import CaseSet
from pnol_jax.errors import InputError

CONSOLE = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
DIGITS = 12  # of a digest that a message shows


@dataclass(frozen=True)
class Opened:
    """A finished run: what it is called on the page, and what predicts. Of its cases but one is kept."""

    label: str
    folder: Path
    experiment: Experiment
    model: Model
    about: Names
    training_cases: int

    @property
    def level(self) -> float:
        """The level of its intervals."""
        return self.experiment.config.calibration.level

    @property
    def kind(self) -> str | None:
        """What its band promises, "pointwise", "simultaneous" or another; None without a guarantee."""
        return None if self.model.guarantee is None else self.model.guarantee.get("kind")


@dataclass(frozen=True)
class SharedCases:
    """Test cases on one grid that all runs name; `name` is that of the first run's file."""

    name: str
    cases: CaseSet

    @property
    def title(self) -> str:
        """Name and grid."""
        return f"{self.name} ({points(self.cases.groups[0].grid.shape)})"

    @property
    def digest(self) -> str:
        """Of grid and content."""
        return self.cases.groups[0].digest


@dataclass(frozen=True)
class Together:
    """Runs that can be compared, in the order in which they were named; what not all were tested on is left out."""

    runs: tuple[Opened, ...]
    tests: tuple[SharedCases, ...]
    left_out: tuple[str, ...]


def open_runs(folders: Sequence[Path], limit: int | None = None) -> Together:
    """Open runs, their models included, with the test sets that all of them name.

    Args:
        folders: of at least two runs.
        limit: how many cases of each test set are looked at, the first ones; all if None.

    Raises:
        InputError: fewer than two runs, one named twice, one missing or not finished; runs that differ in outputs,
            axes, time step or working precision; no test set in common. The message names both runs.
    """
    check_folders(folders)
    if limit is not None and limit < 2:
        raise InputError(f"--cases: got {limit}, expected at least 2: a difference needs cases to be sure of")
    configs = [runs.read_config(folder) for folder in folders]
    for folder in folders:
        runs.check_finished(folder)
    for folder, config in zip(folders, configs, strict=True):
        check_same_problem((folders[0], configs[0]), (folder, config))
    opened, tests = [], []
    called = labels([config.name for config in configs], folders)
    for label, folder, config in track(
        list(zip(called, folders, configs, strict=True)), "opening runs", console=CONSOLE, transient=True
    ):
        run, tested = _open(label, folder, config)
        opened.append(run)
        tests.append(tested)
    shared, left_out = in_common(folders, tests)
    return Together(tuple(opened), tuple(_first(test, limit) for test in shared), left_out)


def _open(label: str, folder: Path, config: ExperimentConfig) -> tuple[Opened, list[SharedCases]]:
    experiment = open_experiment(config)
    pairs = zip(config.data.test, experiment.test, strict=True)
    tests = [
        SharedCases(Path(path).stem, CaseSet((group,), cases.time_step))
        for path, cases in pairs
        for group in cases.groups
    ]
    model, about, count = load_model(folder, experiment), names(experiment), len(experiment.train)
    few = replace(experiment, train=experiment.train.take(np.arange(1)), calibration=None, test=())
    return Opened(label, folder, few, model, about, count), tests


def _first(test: SharedCases, limit: int | None) -> SharedCases:
    return test if limit is None else replace(test, cases=test.cases.take(np.arange(min(limit, len(test.cases)))))


def check_folders(folders: Sequence[Path]) -> None:
    """Refuse what is no comparison.

    Raises:
        InputError: fewer than two runs, or one that is named twice.
    """
    if len(folders) < 2:
        raise InputError(f"runs: got {len(folders)}, expected at least 2; experiments.evaluate reports on one")
    seen: dict[Path, Path] = {}
    for folder in folders:
        if folder.resolve() in seen:
            raise InputError(f"runs: got {seen[folder.resolve()]} and {folder}, which are one folder")
        seen[folder.resolve()] = folder


def check_same_problem(first: tuple[Path, ExperimentConfig], other: tuple[Path, ExperimentConfig]) -> None:
    """Refuse two runs whose answers are not of one kind.

    Raises:
        InputError: they differ in what is predicted, on which axes, at which time step or in which precision, or one
            names no test cases.
    """
    (here, one), (there, two) = first, other
    if not two.data.test:
        raise InputError(f"{there}: data.test names no files, expected those that {here} was tested on")
    for name, ours, theirs in zip(_asked(one), _asked(one).values(), _asked(two).values(), strict=True):
        if ours != theirs:
            raise InputError(f"{there}: {name}: got {theirs}, but {ours} in {here}; expected the same to compare them")


def _asked(config: ExperimentConfig) -> dict[str, Any]:
    return {
        "data.outputs": list(config.data.outputs),
        "data.axes": [(axis.kind, axis.length, axis.placement) for axis in config.data.axes],
        "data.time_step": config.data.time_step,
        "training.precision works in": working_type(config),
    }


def in_common(
    folders: Sequence[Path], tests: Sequence[Sequence[SharedCases]]
) -> tuple[list[SharedCases], tuple[str, ...]]:
    """The test sets of the first run that every run has, by content, and what the others are called.

    Raises:
        InputError: there is none; the message names the first run and the one that shares none with it.
    """
    shared = list(tests[0])
    for folder, theirs in zip(folders, tests, strict=True):
        found = {test.digest for test in theirs}
        kept = [test for test in shared if test.digest in found]
        if not kept:
            raise InputError(
                f"{folder}: tested on {_listed(theirs)}, but {folders[0]} on {_listed(shared)}; expected the same "
                "cases on the same grid to compare them"
            )
        shared = kept
    kept_digests = {test.digest for test in shared}
    rest = {test.digest: test.title for theirs in tests for test in theirs if test.digest not in kept_digests}
    return shared, tuple(rest.values())


def _listed(tests: Sequence[SharedCases]) -> str:
    return ", ".join(f"{test.title}, {len(test.cases)} cases, SHA-256 {test.digest[:DIGITS]}" for test in tests)


def labels(called: Sequence[str], folders: Sequence[Path]) -> list[str]:
    """What runs are called: by name, and where several have the same one, by where their folders differ."""
    found = []
    for name, folder in zip(called, folders, strict=True):
        alike = [other.resolve() for other, same in zip(folders, called, strict=True) if same == name]
        if len(alike) > 1:
            where = folder.resolve().relative_to(os.path.commonpath([path.parent for path in alike]))
            name = f"{name} ({where.as_posix()})"
        found.append(name)
    return found
