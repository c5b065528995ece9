"""Calibration after training: too few cases are refused beforehand; trajectories count once."""

import numpy as np
import pytest

from experiments.calibrate import check_calibration, one_of_each
from pnol_jax.config import CalibrationConfig, DataConfig, ExperimentConfig, FNOConfig
from pnol_jax.errors import InputError


def config(cases: int, level: float, kind: str = "simultaneous") -> ExperimentConfig:
    data = DataConfig(train=["x"], inputs=["a"], outputs=["u"], axes=[], calibration=cases)
    return ExperimentConfig("test", data, FNOConfig([4]), calibration=CalibrationConfig(kind, level))  # type: ignore[arg-type]


@pytest.mark.parametrize(("level", "least"), [(0.9, 9), (0.95, 19), (0.5, 1)])
def test_the_least_number_of_cases_is_named(level: float, least: int) -> None:
    check_calibration(config(least, level))
    with pytest.raises(InputError, match=f"got {least - 1} cases, expected at least {least}"):
        check_calibration(config(least - 1, level))
    check_calibration(config(0, level, "none"))


def test_one_window_of_every_trajectory_is_drawn() -> None:
    rows = np.arange(12.0)[:, None]  # 4 cases of 3 windows
    draws = np.stack([one_of_each(rows, 4, seed)[:, 0] for seed in range(50)])
    assert np.all(draws // 3 == np.arange(4))
    assert all(set(draws[:, case] % 3) == {0, 1, 2} for case in range(4))
    np.testing.assert_array_equal(one_of_each(rows, 12, 0), rows)
