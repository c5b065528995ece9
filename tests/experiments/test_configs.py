"""The configs that are handed out are accepted: every posterior's overlay on every problem, without any data."""

from pathlib import Path

import numpy as np
import pytest

from experiments.calibrate import check_calibration
from experiments.experiment import make_experiment
from experiments.rollout_noise import check_rollout
from experiments.strangeness import check_strangeness
from pnol_jax.config import ExperimentConfig
from pnol_jax.data.cases import CaseGroup, CaseSet
from pnol_jax.grids import Axis, Grid
from pnol_jax.posteriors import POSTERIORS
from pnol_jax.toml import load

CONFIGS = Path("experiments/configs")
PROBLEMS = sorted((CONFIGS / "uq").glob("*.toml"))
OVERLAYS = sorted((CONFIGS / "posteriors").glob("*.toml"))
POINTS = {1: 128, 2: 32}


def a_case(config: ExperimentConfig) -> CaseSet:
    """One case, all zero, of the config's problem."""
    data, n = config.data, POINTS[len(config.data.axes)]
    grid = Grid(tuple(Axis.uniform(n, axis.kind, axis.length, "centre") for axis in data.axes))
    shape, times = grid.shape, () if data.time_step is None else (3,)
    inputs = np.zeros((1, *shape, len(data.inputs)), np.float32)
    outputs = np.zeros((1, *times, *shape, len(data.outputs)), np.float32)
    return CaseSet((CaseGroup(grid, inputs, outputs),), data.time_step)


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda path: path.stem)
@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.stem)
def test_every_posterior_can_be_laid_over_every_problem(problem: Path, overlay: Path) -> None:
    config = load(problem, ExperimentConfig, [str(overlay)])
    for check in (check_calibration, check_rollout, check_strangeness):
        check(config)
    experiment = make_experiment(config, a_case(config))
    assert type(config.posterior) in POSTERIORS
    assert experiment.posterior.axes


def test_there_is_an_overlay_for_every_kind_of_posterior() -> None:
    kinds = {type(load(PROBLEMS[0], ExperimentConfig, [str(path)]).posterior) for path in OVERLAYS}
    assert kinds == set(POSTERIORS)
