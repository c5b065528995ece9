"""From a study's TOML file to an open study, everything checked before anything is written."""

from collections.abc import Sequence
from pathlib import Path

from experiments.search.group import lane_numbers
from experiments.search.problem import Problem
from experiments.search.record import Record, keep, read
from experiments.search.samplers import quiet
from experiments.search.settings import StudyConfig
from experiments.search.space import make_space
from experiments.search.study import Study
from pnol_jax import toml
from pnol_jax.config import ExperimentConfig, TrainingConfig
from pnol_jax.errors import InputError


def open_search(path: str, overrides: Sequence[str], folder: str | None) -> Study:
    """Begin the study of a file, or go on with it, in a folder (runs/NAME).

    Raises:
        InputError: what cannot be searched, or not so; data that cannot be read; a folder with something else in it.
    """
    quiet()
    _check_words(overrides)
    if "data" in toml.read(path):
        raise InputError(f"{path}: got a training config, expected a study; python -m experiments.train {path}")
    config = toml.load(path, StudyConfig, overrides)
    tree = toml.overridden(toml.read(config.config), config.overrides, ExperimentConfig)
    space = make_space(tree, config.search)
    base = space.base()
    problem = Problem(base, config.search)
    experiment = problem.experiment(base)
    if config.search.vectorised > 1:
        lane_numbers(space, experiment)
    if config.search.sampler == "grid":
        space.grid()
    record = Record(config.name, tree, config.search, problem.digest)
    return begin(Path(folder or f"runs/{config.name}"), record)


def full_steps(path: str, overrides: Sequence[str]) -> int:
    """How many steps the training config of a study's file has without the study's overrides."""
    tree = toml.read(toml.load(path, StudyConfig, overrides).config)
    return int(tree.get("training", {}).get("steps", TrainingConfig().steps))


def _check_words(overrides: Sequence[str]) -> None:
    for word in overrides:
        section = word.partition("=")[0].partition(".")[0]
        if section in ExperimentConfig.__struct_fields__ and section not in StudyConfig.__struct_fields__:
            raise InputError(
                f"override {word!r}: a key of the training config, expected it as \"overrides=['{word}']\""
            )


def begin(folder: Path, record: Record) -> Study:
    """Begin a study, or go on with it.

    Raises:
        InputError: as `keep`.
    """
    keep(folder, record)
    return Study(folder, record)


def load_study(folder: Path) -> Study:
    """Open a study that has begun.

    Raises:
        InputError: there is none.
    """
    return Study(folder, read(folder))
