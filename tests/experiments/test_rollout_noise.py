"""The noise along rollouts: found so that intervals hold their level, on cases of its own, or refused."""

import json
from pathlib import Path

import numpy as np
import pytest

from experiments import rollout_noise, runs, train
from experiments.experiment import open_experiment
from experiments.rollout_noise import calibrate_rollout, check_rollout, check_trajectories
from pnol_jax.config import ExperimentConfig
from pnol_jax.errors import InputError
from pnol_jax.posteriors.coloured import FACTOR, LASTING
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


NOISE = {FACTOR: np.ones((), np.float32), LASTING: np.zeros((), np.float32)}
SOON, LATE = 2, 6  # states of the first step, and of all


@pytest.mark.parametrize(
    ("by_share", "factor", "lasting"),
    [
        (0.5, 1.7, 0.4),
        (0.0, 2.5, 1.0),
        (2.0, 1.25, 0.0),
    ],  # the last two: all of it, or none, is not enough, or too much
)
def test_the_noise_is_that_at_which_the_level_is_held_soon_and_late(config, monkeypatch, by_share, factor, lasting):
    experiment = open_experiment(load(config, ExperimentConfig, CHANGES))
    begin = {0.5: 0.6, 0.0: 0.8 * 1.7 / 2.5, 2.0: 0.8 * 1.7 / 1.25}[by_share]  # late coverage at 1.7, nothing lasting

    def coverage(_, params, cases):
        size, share, times = float(params[FACTOR]), float(params[LASTING]), cases.groups[0].outputs.shape[1]
        assert len(cases) == 24
        assert times in (SOON, LATE)
        return (0.8 if times == SOON else begin + by_share * share) * size / 1.7

    monkeypatch.setattr(rollout_noise, "coverage", coverage)
    rest, params = calibrate_rollout(experiment, NOISE)
    assert float(params[FACTOR]) == pytest.approx(factor, rel=np.log(16) / 2**7)
    assert float(params[LASTING]) == pytest.approx(lasting, abs=0.05)
    assert len(rest.calibration) == 16


def test_rollouts_that_set_the_noise_start_where_they_are_told(config, monkeypatch):
    experiment = open_experiment(load(config, ExperimentConfig, [*CHANGES, "calibration.rollout_start=3"]))
    seen = []

    def coverage(_, params, cases):
        seen.append(cases.groups[0].outputs)
        return 0.8 * float(params[FACTOR]) * (1 + float(params[LASTING]))

    monkeypatch.setattr(rollout_noise, "coverage", coverage)
    calibrate_rollout(experiment, NOISE)
    _, cases = experiment.calibration.split(24, rollout_noise.SEED)
    for outputs in seen:
        np.testing.assert_array_equal(outputs, cases.groups[0].outputs[:, 3 : 3 + outputs.shape[1]])
    late = open_experiment(load(config, ExperimentConfig, [*CHANGES, "calibration.rollout_start=5"]))
    with pytest.raises(InputError, match=r"rollout_start: got 5, expected at most 4: there are 6 states"):
        check_trajectories(late)


def test_draws_that_blow_up_are_too_much_noise_and_not_too_little(config, monkeypatch):
    experiment = open_experiment(load(config, ExperimentConfig, CHANGES))

    def score(params, cases):
        size = float(params[FACTOR])
        blown = size > 2  # what is no number is inside no interval
        return {"spread": np.full(3, np.nan if blown else size), "coverage": np.full(3, 0.0 if blown else 0.6 * size)}

    monkeypatch.setattr(rollout_noise, "rollout_scorer", lambda *_: score)
    _, params = calibrate_rollout(experiment, NOISE)
    assert float(params[FACTOR]) == pytest.approx(experiment.config.calibration.level / 0.6, rel=0.05)


def test_without_rollouts_the_noise_is_the_residuals_again(config):
    experiment = open_experiment(load(config, ExperimentConfig, [*CHANGES, "calibration.rollout=0"]))
    before = {FACTOR: np.full((), 2.0, np.float32), LASTING: np.full((), 0.4, np.float32)}
    _, params = calibrate_rollout(experiment, before)
    assert (float(params[FACTOR]), float(params[LASTING])) == (1.0, 0.0)


def test_what_no_noise_can_cover_is_refused(config, monkeypatch):
    experiment = open_experiment(load(config, ExperimentConfig, CHANGES))
    monkeypatch.setattr(rollout_noise, "coverage", lambda *_: 0.1)
    with pytest.raises(InputError, match=r"no noise of 0\.25 to 4 times"):
        calibrate_rollout(experiment, NOISE)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ('posterior.name="deterministic"', "calibration.rollout: got 24, expected 0, or trajectories"),
        ("calibration.rollout=41", "calibration.rollout: got 41, expected at most data.calibration = 40"),
        ("calibration.rollout=0 calibration.rollout_start=2", "calibration.rollout_start: got 2, expected 0"),
    ],
)
def test_noise_that_nothing_uses_is_refused(config, change, message):
    with pytest.raises(InputError, match=message):
        check_rollout(load(config, ExperimentConfig, [*CHANGES, *change.split()]))


@pytest.mark.slow
def test_a_run_sets_its_noise_and_tells_scores_of_draws(config, tmp_path):
    folder = tmp_path / "run"
    assert train.main([str(config), *CHANGES, "--run", str(folder)]) == 0
    assert float(runs.load_model(folder)[FACTOR]) != 1
    (found,) = json.loads((folder / "metrics.json").read_text())["tests"].values()
    names = {name for name in found if name.startswith("rollout_draws_")}
    assert {"rollout_draws_crps", "rollout_draws_coverage", "rollout_draws_energy_score"} <= names
    assert "Draws carry the uncertainty" in (folder / "report.html").read_text()
