"""The noise along rollouts: found so that intervals hold their level, on cases of its own, or refused."""

import json
from pathlib import Path

import numpy as np
import pytest

from experiments import rollout_noise, runs, train
from experiments.experiment import open_experiment
from experiments.rollout_noise import calibrate_rollout, check_rollout
from pnol_jax.config import ExperimentConfig
from pnol_jax.errors import InputError
from pnol_jax.posteriors.coloured import FACTOR
from pnol_jax.toml import load
from tests.experiments.test_rollout import CONFIG, write_trajectories

CHANGES = [
    'posterior.name="coloured"',
    "posterior.heteroscedastic=false",
    "calibration.steps=[]",
    "calibration.rollout=24",
    "operator.modes=[8]",
    "training.steps=60",
    "training.increment=true",
    "training.band_limited=true",
    "export.num_samples=8",
]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Decaying waves, learnt by a step model with correlated noise."""
    write_trajectories(tmp_path / "train.npz", 80, 6)
    write_trajectories(tmp_path / "test.npz", 10, 6)
    path = tmp_path / "config.toml"
    path.write_text(CONFIG.format(folder=tmp_path))
    return path


def test_the_factor_is_that_at_which_the_level_is_held(config, monkeypatch):
    experiment = open_experiment(load(config, ExperimentConfig, CHANGES))
    seen = []

    def coverage(_, params, cases):
        seen.append(len(cases))
        return 0.8 * float(params[FACTOR]) / 1.7  # the level, 0.8, at 1.7

    monkeypatch.setattr(rollout_noise, "coverage", coverage)
    rest, params = calibrate_rollout(experiment, {FACTOR: np.ones((), np.float32)})
    assert float(params[FACTOR]) == pytest.approx(1.7, rel=np.log(16) / 2**7)
    assert (set(seen), len(rest.calibration)) == ({24}, 16)


def test_what_no_noise_can_cover_is_refused(config, monkeypatch):
    experiment = open_experiment(load(config, ExperimentConfig, CHANGES))
    monkeypatch.setattr(rollout_noise, "coverage", lambda *_: 0.1)
    with pytest.raises(InputError, match=r"no noise of 0\.25 to 4 times"):
        calibrate_rollout(experiment, {FACTOR: np.ones((), np.float32)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ('posterior.name="deterministic"', "calibration.rollout: got 24, expected 0, or trajectories"),
        ("calibration.rollout=41", "calibration.rollout: got 41, expected at most data.calibration = 40"),
    ],
)
def test_noise_that_nothing_uses_is_refused(config, change, message):
    with pytest.raises(InputError, match=message):
        check_rollout(load(config, ExperimentConfig, [*CHANGES, change]))


def test_a_run_sets_its_noise_and_tells_scores_of_draws(config, tmp_path):
    folder = tmp_path / "run"
    assert train.main([str(config), *CHANGES, "--run", str(folder)]) == 0
    assert float(runs.load_model(folder)[FACTOR]) != 1
    (found,) = json.loads((folder / "metrics.json").read_text())["tests"].values()
    names = {name for name in found if name.startswith("rollout_draws_")}
    assert {"rollout_draws_crps", "rollout_draws_coverage", "rollout_draws_energy_score"} <= names
    assert "Draws carry the uncertainty" in (folder / "report.html").read_text()
