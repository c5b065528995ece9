"""A small problem and runs of it that nobody trained: what comes after training does not ask how good a model is.

The inputs are three random waves on a periodic axis, the outputs the same waves, smoothed.
"""

from pathlib import Path
from typing import Any

import numpy as np

from experiments import runs
from experiments.calibrate import calibrate
from experiments.experiment import Experiment, open_experiment
from experiments.model import save_model
from experiments.strangeness import fit_detector
from pnol_jax.config import ExperimentConfig
from pnol_jax.toml import load

BARE = """
name = "smoothing"
[data]
train = ["train.npz"]
inputs = ["a"]
outputs = ["u"]
axes = [{ kind = "periodic" }]
[operator]
name = "fno"
modes = [8]
width = 8
depth = 2
[calibration]
kind = "none"
[training]
batch_size = 8
"""  # for cases in the current folder; more of the training follows

CONFIG = """
name = "smoothing"
[data]
train = ["{folder}/train.npz"]
test = ["{folder}/test.npz"]
inputs = ["a"]
outputs = ["u"]
axes = [{{ kind = "periodic" }}]
calibration = 60
[operator]
name = "fno"
modes = [8]
width = 8
depth = 2
[training]
steps = 60
batch_size = 16
log_every = 30
checkpoint_every = 60
{more}
"""


def write_cases(path: Path, cases: int, seed: int, size: float = 1.0, *, outputs: bool = True, n: int = 24) -> None:
    """Cases whose waves are `size` times as large as usual."""
    c = size * np.random.default_rng(seed).standard_normal((cases, 3, 1))
    k = np.arange(1, 4)[:, None]
    waves = np.sin(2 * np.pi * k * np.arange(n) / n)
    arrays = {"a": (c * waves).sum(1)} | ({"u": (c / (1 + k**2) * waves).sum(1)} if outputs else {})
    np.savez(path, **arrays)


def write_config(folder: Path, more: str = "") -> Path:
    """The problem's files, `new.npz` with inputs only among them, and a config with more sections."""
    for name, cases in (("train", 160), ("test", 30)):
        write_cases(folder / f"{name}.npz", cases, cases)
    write_cases(folder / "new.npz", 60, 0, 1.3, outputs=False)
    path = folder / "config.toml"
    path.write_text(CONFIG.format(folder=folder, more=more.replace("{folder}", str(folder))))
    return path


def opened(path: Path, *overrides: str) -> Experiment:
    """The experiment of a config."""
    return open_experiment(load(path, ExperimentConfig, overrides))


def untrained(experiment: Experiment) -> dict[str, Any]:
    """Parameters as a training of no steps leaves them."""
    params = experiment.posterior.initial(0) | experiment.constants()
    return experiment.posterior.fit(params, lambda: experiment.one_pass(experiment.train))


def write_run(folder: Path, experiment: Experiment) -> Path:
    """The folder of a run that was not trained: calibrated, with its detector."""
    folder.mkdir()
    runs.write_about(folder, experiment)
    params = untrained(experiment)
    save_model(folder, params, calibrate(experiment, params), fit_detector(experiment, params))
    return folder
