"""Relative L2 on Darcy flow at n = 16 and n = 32 after training on n = 16 only, against neuraloperator 2.0.

Ours by experiments/configs/darcy.toml with no case held out, the peer by its own 15-epoch recipe, one after the other
for each seed. Errors are means over the 50 test cases and the seeds, over all n x n points: on the edge, which ours
leaves out because the pressure is zero there, zero is what it predicts.
"""

import tempfile
import time
from pathlib import Path

import jax
import numpy as np

from benchmarks.measure import paired_ratio
from benchmarks.peers import neuraloperator_darcy
from benchmarks.report import Figure, argument_parser, report
from experiments import fetch
from experiments.command import run
from experiments.experiment import open_experiment
from experiments.train import train_model
from pnol_jax.config import ExperimentConfig
from pnol_jax.memory import keep_arena
from pnol_jax.toml import load

CONFIG = "experiments/configs/darcy.toml"
TRAIN, *TESTS = (Path("data/darcy") / f"darcy_{name}.npz" for name in ("train_16", "test_16", "test_32"))
GOALS = {"16": (0.080, 0.090), "32": (0.088, 0.100)}


def main() -> int:
    """Train both for every seed."""
    parser = argument_parser(__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each side (default 3)")
    options = parser.parse_args()
    keep_arena()
    fetch.main(["darcy"])
    ours, theirs = [], []
    for seed in range(options.seeds):
        ours.append(train_ours(seed))
        theirs.append(neuraloperator_darcy(TRAIN, TESTS, seed=seed))
    figures = []
    for n, (goal, most) in GOALS.items():
        errors, others = [run[n] for run in ours], [run["l2"][n] for run in theirs]
        print(f"n = {n}: {_each(errors)}; neuraloperator {_each(others)}")
        figures += [
            Figure(f"darcy_l2_{n}", float(np.mean(errors)), "relative", goal, at_most=most),
            Figure(f"darcy_l2_{n}_neuraloperator", float(np.mean(others)), "relative"),
        ]
    seconds = (np.asarray([run["seconds"] for run in ours]), np.asarray([run["seconds"] for run in theirs]))
    figures.append(Figure.of_ratio("darcy_train_seconds_ratio", paired_ratio(*seconds), 1.0, less=True))
    own, other = (float(np.median(side)) for side in seconds)
    figures.append(Figure("darcy_train_seconds", own, "s", other, less=True))
    return report(figures, options.json, versions=theirs[0]["versions"])


def _each(values: list[float]) -> str:
    """The error of each seed."""
    return ", ".join(f"{value:.4f}" for value in values)


def train_ours(seed: int) -> dict[str, float]:
    """Train by the config; its error by points a side, and its seconds, compilation included."""
    words = ["data.calibration=0", "calibration.kind='none'", f"training.seed={seed}"]
    experiment = open_experiment(load(CONFIG, ExperimentConfig, words))
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        params = train_model(experiment, Path(folder))
    found = {"seconds": time.perf_counter() - start}
    predict = jax.jit(experiment.posterior.predict)
    for path, cases in zip(TESTS, experiment.test, strict=True):
        means = [
            np.asarray(predict(params, batch.inputs, grid, jax.random.key(0)).mean)[np.asarray(mask) > 0]
            for batch, grid, mask in experiment.one_pass(cases)
        ]
        truth = np.load(path)["pressure"].astype(np.float64)
        mean = np.zeros_like(truth)
        mean[:, 1:, 1:] = np.concatenate(means)[..., 0]
        error = np.linalg.norm((mean - truth).reshape(len(truth), -1), axis=1)
        found[str(truth.shape[1])] = float(np.mean(error / np.linalg.norm(truth.reshape(len(truth), -1), axis=1)))
    return found


if __name__ == "__main__":
    run(main)
