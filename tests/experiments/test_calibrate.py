"""Calibration after training: what cannot work is refused beforehand; steps share the cases, which count once."""

import json
from pathlib import Path
from typing import Any

import jax
import msgspec
import numpy as np
import pytest

from experiments import export, train
from experiments.calibrate import allotted, calibrate, check_calibration, one_of_each
from experiments.model import CALIBRATION, Model
from pnol_jax import scores
from pnol_jax.calibration_config import CalibrationConfig
from pnol_jax.config import AxisConfig, DataConfig, ExperimentConfig, FNOConfig
from pnol_jax.errors import InputError
from pnol_jax.servable import load_servable
from tests import smoothing


def config(cases: int, level: float, kind: str = "simultaneous", steps: Any = ()) -> ExperimentConfig:
    data = DataConfig(train=["x"], inputs=["a"], outputs=["u"], axes=[AxisConfig()], calibration=cases)
    settings = msgspec.convert({"kind": kind, "level": level, "steps": list(steps)}, CalibrationConfig)
    return ExperimentConfig("test", data, FNOConfig([4]), calibration=settings)


@pytest.mark.parametrize(("level", "least"), [(0.9, 9), (0.95, 19), (0.5, 1)])
def test_the_least_number_of_cases_is_named(level: float, least: int) -> None:
    check_calibration(config(least, level))
    with pytest.raises(InputError, match=f"got {least - 1} cases, expected at least {least}"):
        check_calibration(config(least - 1, level))
    check_calibration(config(0, level, "none"))


@pytest.mark.parametrize(
    ("steps", "least", "parts"),
    [
        ([{"name": "temperature"}, {"name": "conformal"}], 19, "temperature 10, conformal 9"),
        ([{"name": "variance"}, {"name": "risk_control", "share": 3}], 38, "variance 10, risk_control 28"),
        ([{"name": "groups", "groups": 3}], 72, "groups 72"),
        ([{"name": "pit"}], 20, "pit 20"),
        ([{"name": "regions", "cells": [2]}], 10, "regions 10"),
    ],
)
def test_steps_are_refused_by_what_each_of_them_needs(steps: Any, least: int, parts: str) -> None:
    check_calibration(config(least, 0.9, steps=steps))
    with pytest.raises(InputError, match=f"expected at least {least}, divided among the steps: {parts}"):
        check_calibration(config(least - 1, 0.9, steps=steps))


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([{"name": "conformal"}, {"name": "temperature"}], r"got \['conformal', 'temperature'\], expected at most one"),
        ([{"name": "pit"}, {"name": "conformal"}], "expected at most one band"),
        ([{"name": "regions", "cells": [2, 2]}], r"steps\[0\]\.cells: got \[2, 2\], expected 1 numbers"),
        ([{"name": "groups", "groups": 1}], r"steps\[0\]\.groups: got 1"),
        ([{"name": "weighted", "inputs": ["none.npz"]}], r"steps\[0\]\.inputs: no file 'none\.npz'"),
        ([{"name": "adaptive"}], r"'adaptive' is simultaneous, got calibration\.kind = 'pointwise'"),
    ],
)
def test_steps_that_do_not_go_together_are_refused(steps: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_calibration(config(500, 0.9, "pointwise", steps))


def test_every_case_goes_to_one_step_in_proportion_to_its_share() -> None:
    steps = config(0, 0.9, steps=[{"name": "variance", "share": s} for s in (1, 2, 0.5)]).calibration.resolved
    for cases in range(50):
        parts = allotted(cases, steps)
        assert sum(parts) == cases
        np.testing.assert_allclose(parts, cases * np.array([1, 2, 0.5]) / 3.5, atol=1)


def test_one_window_of_every_trajectory_is_drawn() -> None:
    rows = np.arange(12.0)[:, None]  # 4 cases of 3 windows
    draws = np.stack([one_of_each(rows, 4, seed)[:, 0] for seed in range(50)])
    assert np.all(draws // 3 == np.arange(4))
    assert all(set(draws[:, case] % 3) == {0, 1, 2} for case in range(4))
    np.testing.assert_array_equal(one_of_each(rows, 12, 0), rows)


STEPS = [
    '[{name = "temperature"}, {name = "groups", groups = 2, by = "input"}]',
    '[{name = "regions", cells = [3]}, {name = "weighted", inputs = ["{folder}/new.npz"], share = 4}]',
    '[{name = "pit"}]',
    '[{name = "ball", outside = 0.2}]',
    '[{name = "variance"}, {name = "risk_control", modulation = "unit"}]',
    '[{name = "adaptive"}]',
]


def calibration(steps: str) -> str:
    return f"[calibration]\nlevel = 0.8\nsteps = {steps}"


@pytest.mark.parametrize("steps", STEPS)
def test_the_steps_of_a_config_hold_on_cases_that_nobody_has_seen(tmp_path: Path, steps: str) -> None:
    """Without training: the guarantee does not ask how good the model is."""
    experiment = smoothing.opened(smoothing.write_config(tmp_path, calibration(steps)))
    params = smoothing.untrained(experiment)
    calibrator = calibrate(experiment, params)
    assert calibrator is not None
    arrays, guarantee = calibrator.to_dict()
    weights = params | {CALIBRATION + name: value for name, value in arrays.items()}
    model = Model(experiment.posterior, weights, json.loads(json.dumps(guarantee)))
    ((batch, grid, mask),) = experiment.one_pass(experiment.test[0], 32)
    predictive = jax.jit(model.predict)(weights, batch.inputs, grid, jax.random.key(0))
    covered = scores.coverage(predictive.band, batch.outputs, grid.weights())[mask > 0]
    assert np.mean(covered) > 0.8 - 0.2  # three deviations of 30 cases of which each is in or out


@pytest.mark.slow
def test_steps_of_a_config_are_evaluated_and_served(tmp_path: Path) -> None:
    path, run = smoothing.write_config(tmp_path, calibration(STEPS[1])), tmp_path / "run"
    assert train.main([str(path), "--run", str(run)]) == 0
    metrics = json.loads((run / "metrics.json").read_text())
    promised = metrics["calibration"]
    assert [step["method"] for step in promised["steps"]] == ["region_scaling", "weighted_conformal"]
    assert metrics["tests"]["test@24"]["band_coverage"] > 0.6
    assert promised["statement"] in (run / "report.html").read_text()
    assert load_servable(export.export(run, tmp_path / "models")).manifest.calibration == promised
