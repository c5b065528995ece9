"""Kuramoto-Sivashinsky as the probabilistic neural operators' paper has it, by a step model that marches.

u_t = -u u_x / 2 - u_xx - u_xxxx, periodic, length 100, the first state uniform in (-1, 1) at each of 256 points; asked
are the 20 states from t = 40 to 78, given those before. Theirs map the whole window at once; ours steps from t = 38 by
experiments/configs/kuramoto_sivashinsky.toml and carries its uncertainty by samples. Everything in standardised units,
figures of the whole window: relative L2 of the samples' mean, energy score in the root mean square norm, fair CRPS, the
logarithmic score of a Gaussian with the samples' moments, the coverage of their central 95% interval.

Published: Bülte, Scholl, Kutyniok (2025), Probabilistic neural operators for functional uncertainty quantification,
mean of 9 seeds with 9,000 training simulations.
"""

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import FigureBase
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.report import Figure, argument_parser, report
from experiments import simulate
from experiments.command import run
from experiments.experiment import Experiment, open_experiment
from experiments.report.drawing import BAND, ERROR, MEAN, SOFT, Draw, svg
from experiments.rollout import drawn
from experiments.rollout_noise import calibrate_rollout
from experiments.train import train_model
from pnol_jax import scores
from pnol_jax.config import ExperimentConfig
from pnol_jax.data import CaseSet
from pnol_jax.data.arrays import ABOUT
from pnol_jax.files import write_atomically
from pnol_jax.memory import keep_arena
from pnol_jax.posteriors import Params
from pnol_jax.posteriors.march import march
from pnol_jax.scores.measure import field_mean
from pnol_jax.toml import load

CONFIG = "experiments/configs/kuramoto_sivashinsky.toml"
PROBLEM = ["convection=0.5", "length=100", "time_step=2", "substeps=20", "start=rough", "sigma=1"]
TRAIN, TEST = "data/ks/train", "data/ks/test"
TRAINING_CASES, TEST_CASES = 4000, 1000
POINTS, DRAWS, LEVEL, BATCH = 256, 100, 0.95, 20
NAMES = ("relative_l2", "energy_score", "crps", "nll", "coverage")
PUBLISHED: Mapping[str, tuple[float | None, ...]] = {
    "PNO, reparametrised": (0.864, 0.608, 0.474, 1.23, 0.940),
    "PNO, dropout": (None, None, 0.550, None, None),
    "climatology": (None, None, 0.564, None, None),
    "Monte Carlo dropout": (None, None, 0.597, None, None),
    "Laplace": (None, None, 0.608, None, None),
    "deterministic": (None, None, 0.710, None, None),
}


def main() -> int:
    """Simulate what is not there, train, find the noise that is right along rollouts, march, compare."""
    parser = argument_parser(__doc__)
    parser.add_argument("--cases", type=int, default=TRAINING_CASES, help="training simulations")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="write the figures by lead time here")
    options = parser.parse_args()
    keep_arena()
    _simulated(Path(TRAIN), options.cases, 128, ["warm_up=8", "steps=31"], seed=0)
    _simulated(Path(TEST), TEST_CASES, POINTS, ["warm_up=19", "steps=20"], seed=1)
    experiment = open_experiment(load(CONFIG, ExperimentConfig, []))
    cases = len(experiment.train) + len(experiment.calibration or ())
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        params = train_model(experiment, Path(folder))
        _, params = calibrate_rollout(experiment, params)
        minutes = (time.perf_counter() - began) / 60
    found = window_figures(experiment, params, experiment.test[0])
    means = {name: float(np.mean(values)) for name, values in found["window"].items()}
    Console().print(_table(means))
    if options.picture:
        write_atomically(
            options.picture,
            svg(by_lead(found["lead"], experiment.config.data.time_step or 1), 7.2, 2.6, ground="white"),
        )
    figures = [
        Figure("ks_relative_l2", means["relative_l2"], "relative", 0.082, less=True),
        Figure("ks_crps", means["crps"], "standard deviations", 0.025, at_most=0.05),
        Figure("ks_energy_score", means["energy_score"], "standard deviations", 0.06, at_most=0.10),
        Figure("ks_nll", means["nll"], "nats", 1.23, less=True),
        Figure("ks_coverage_95", means["coverage"], "share", LEVEL, at_least=0.93, at_most=0.97),
        Figure("ks_training_minutes", minutes, "min", 40, at_most=40),
        Figure("ks_training_cases", float(cases), "simulations", 9000, less=True),
    ]
    return report(figures, options.json)


def window_figures(experiment: Experiment, params: Params, cases: CaseSet) -> dict[str, dict[str, NDArray[Any]]]:
    """Figures of each case: `window` of all its states together, (cases,); `lead` at each lead time, (cases, steps)."""
    scale = params["normaliser.outputs.std"]
    steps = cases.groups[0].outputs.shape[1] - 1
    key = jax.random.key(1)

    @jax.jit
    def score(params: Params, inputs: jax.Array, outputs: jax.Array, grid: Any) -> dict[str, dict[str, jax.Array]]:
        weights = grid.weights()

        def keep(states: jax.Array, number: jax.Array) -> dict[str, jax.Array]:
            truth, predictive = outputs[:, number] / scale, drawn(states / scale)
            error, norm = (field_mean(jnp.square(f), weights) for f in (predictive.mean - truth, truth))
            return {
                "error": error,
                "norm": norm,
                "spread": jnp.square(scores.spread(predictive, weights, DRAWS)),
                "crps": scores.sample_crps(predictive, truth, weights),
                "nll": scores.gaussian_nll(predictive, truth, weights),
                "coverage": scores.coverage(predictive.interval(LEVEL), truth, weights),
                "to_truth": _squares(predictive.samples, truth[None], weights),
                "apart": jax.lax.map(lambda one: _squares(predictive.samples, one[None], weights), predictive.samples),
            }

        by_step = march(experiment.posterior, params, inputs, grid, key, steps, DRAWS, keep)
        to_truth, apart = (jnp.sqrt(jnp.mean(by_step.pop(name), axis=0)) for name in ("to_truth", "apart"))
        energy = jnp.mean(to_truth, axis=0) - jnp.sum(apart, axis=(0, 1)) / (2 * DRAWS * (DRAWS - 1))
        means = {name: jnp.mean(values, axis=0) for name, values in by_step.items()}
        relative = jnp.sqrt(means["error"] / means["norm"])
        window = {name: means[name] for name in ("crps", "nll", "coverage")}
        window |= {"relative_l2": relative, "energy_score": energy}
        return {"window": window, "lead": {name: values.T for name, values in by_step.items()}}

    parts = []
    for batch, grid, mask in experiment.one_pass(cases, BATCH, steps):
        found = jax.device_get(score(params, batch.inputs, batch.outputs, grid))
        kept = int(mask.sum())
        parts.append(jax.tree.map(lambda values, kept=kept: values[:kept], found))
    joined: dict[str, dict[str, NDArray[Any]]] = jax.tree.map(lambda *values: np.concatenate(values), *parts)
    return joined


def _squares(samples: jax.Array | None, field: jax.Array, weights: jax.Array) -> jax.Array:
    """The mean square over the domain of the difference to each sample, (draws, batch)."""
    assert samples is not None
    return jax.vmap(lambda difference: field_mean(jnp.square(difference), weights))(samples - field)


def by_lead(lead: Mapping[str, NDArray[Any]], time_step: float) -> Draw:
    """Error against spread, and coverage, at each lead time."""
    rows = {name: np.mean(values, axis=0) for name, values in lead.items()}
    times = time_step * np.arange(1, len(rows["error"]) + 1)

    def draw(figure: FigureBase) -> None:
        left, right = figure.subplots(1, 2)
        left.plot(times, np.sqrt(rows["error"]), color=ERROR, marker="o", label="error of the samples' mean")
        left.plot(times, np.sqrt(rows["spread"]), color=MEAN, marker="s", label="spread of the samples")
        left.plot(times, rows["crps"], color=BAND, marker="^", label="CRPS")
        left.set_yscale("log")
        left.set_ylabel("standard deviations of u")
        left.legend()
        right.axhline(LEVEL, color=SOFT, linestyle=":", linewidth=1)
        right.plot(times, rows["coverage"], color=MEAN, marker="s")
        right.set_ylim(0.8, 1)
        right.set_ylabel(f"inside the {LEVEL:.0%} interval")
        for axes in (left, right):
            axes.grid(True)
            axes.set_xlabel("lead time")

    return draw


def _simulated(folder: Path, cases: int, points: int, parameters: list[str], seed: int) -> None:
    """The data set in a folder; made, or finished, where it is not there."""
    if (folder / ABOUT).exists():
        return
    words = ["kuramoto-sivashinsky", "--cases", str(cases), "--points", str(points), "--seed", str(seed)]
    simulate.main([*words, "--workers", "2", "--out", str(folder), *PROBLEM, *parameters])


def _table(ours: Mapping[str, float]) -> Table:
    table = Table("", *(name.replace("_", " ") for name in NAMES))
    rows = {"ours, marching": tuple(ours[name] for name in NAMES), **PUBLISHED}
    for title, values in rows.items():
        table.add_row(title, *("-" if value is None else f"{value:.3f}" for value in values))
    return table


if __name__ == "__main__":
    run(main)
