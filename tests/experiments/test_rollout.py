"""Rollouts of a step model: the band by lead time, and the one that observed states correct."""

from pathlib import Path

import numpy as np

from experiments.calibrate import calibrate
from experiments.model import CALIBRATION, Model
from experiments.rollout import rollout_errors
from tests import smoothing

CONFIG = """
name = "decay"
[data]
train = ["{folder}/train.npz"]
test = ["{folder}/test.npz"]
inputs = []
outputs = ["u"]
axes = [{{ kind = "periodic" }}]
time_step = 0.1
calibration = 40
[operator]
name = "fno"
modes = [8]
width = 8
depth = 2
[training]
batch_size = 16
[calibration]
level = 0.8
steps = [{{ name = "temperature" }}, {{ name = "adaptive", rate = 0.1 }}]
"""
STEPS = 30


def write_trajectories(path: Path, cases: int, times: int) -> None:
    """Three decaying waves, (cases, times, points)."""
    c = np.random.default_rng(cases).standard_normal((cases, 1, 3))
    k = np.arange(1, 4)
    decay = np.exp(-0.02 * np.arange(times)[:, None] * k**2)
    np.savez(path, u=(c * decay) @ np.sin(2 * np.pi * np.outer(k, np.arange(16)) / 16))


def test_a_corrected_band_keeps_its_level_along_a_rollout_that_leaves_the_truth(tmp_path: Path) -> None:
    write_trajectories(tmp_path / "train.npz", 60, 5)
    write_trajectories(tmp_path / "test.npz", 10, STEPS + 1)
    path = tmp_path / "config.toml"
    path.write_text(CONFIG.format(folder=tmp_path))
    experiment = smoothing.opened(path)
    params = smoothing.untrained(experiment)
    calibrator = calibrate(experiment, params)
    assert calibrator is not None
    arrays, guarantee = calibrator.to_dict()
    weights = params | {CALIBRATION + name: value for name, value in arrays.items()}
    found = rollout_errors(experiment, Model(experiment.posterior, weights, guarantee), experiment.test[0])
    assert {name: values.shape for name, values in found.items()} == dict.fromkeys(found, (10, STEPS))
    np.testing.assert_array_equal(found["inside"][:, 0], found["adapted"][:, 0])
    misses = 1 - found["adapted"].mean(axis=1)
    assert np.all(np.abs(misses - 0.2) <= (0.8 + 0.1) / (STEPS * 0.1) + 1e-6)
    assert np.any(found["inside"] != found["adapted"])
