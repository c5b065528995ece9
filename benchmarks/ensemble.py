"""Four members beside one on the Darcy config: what a step costs, and what their uncertainty is worth.

Cost: training steps of both in turns. Worth: the ensemble is trained with 200 of the 1,000 training cases held out;
these and the 50 test cases of the same grid are pooled and split 20 times into halves, one to calibrate a simultaneous
band of 90% on and one to count on how many cases the truth stays wholly inside.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import LocalSide, alternate
from benchmarks.report import Figure, argument_parser, report
from experiments import fetch
from experiments.calibrate import FLOOR
from experiments.command import run
from experiments.experiment import Experiment, open_experiment
from experiments.train import train_model
from pnol_jax import scores
from pnol_jax.bases import GridOperands
from pnol_jax.calibration import SplitConformal, conformity_scores
from pnol_jax.config import ExperimentConfig
from pnol_jax.data import CaseSet
from pnol_jax.memory import keep_arena
from pnol_jax.posteriors import Batch, Params
from pnol_jax.posteriors.protocol import NORMALISER
from pnol_jax.toml import load
from pnol_jax.training.optimizers import make_optimizer
from pnol_jax.training.step import initial_state, make_step

CONFIG = "experiments/configs/darcy.toml"
MEMBERS, HELD_OUT, SPLITS, LEVEL = 4, 200, 20, 0.9
ENSEMBLE = ["posterior.name='ensemble'", f"posterior.members={MEMBERS}"]
ONE, FOUR = "1 member", f"{MEMBERS} members"
Scored = dict[str, NDArray[Any]]


def main() -> int:
    """Measure cost, then worth."""
    options = argument_parser(__doc__, rounds=15, burst=1.0).parse_args()
    keep_arena()
    fetch.main(["darcy"])
    held = [f"data.calibration={HELD_OUT}"]
    one, four = (open_experiment(load(CONFIG, ExperimentConfig, held + words)) for words in ([], ENSEMBLE))
    timings = alternate([LocalSide(ONE, stepper(one)), LocalSide(FOUR, stepper(four))], options.rounds, options.burst)
    with tempfile.TemporaryDirectory() as folder:
        params = train_model(four, Path(folder))
    assert four.calibration is not None
    held_out, test = scored(four, params, four.calibration), scored(four, params, four.test[0])
    coverage = over_splits(np.concatenate([held_out["conformity"], test["conformity"]]))
    figures = [
        Figure.of_ratio("ensemble4_cost_ratio", timings.ratio(FOUR, ONE), 3.6, less=True),
        Figure("darcy_crps_16", float(test["crps"].mean()), "pressure", 0.025, less=True),
        Figure("darcy_coverage_90", float(coverage.mean()), "share", LEVEL, at_least=0.86, at_most=0.94),
        Figure("darcy_coverage_90_std", float(coverage.std()), "share", 0.03, less=True),
        Figure("darcy_pointwise_coverage_90", float(test["coverage"].mean()), "share", LEVEL),
    ]
    return report(figures, options.json, {"training step on Darcy, batch of 50": timings})


def stepper(experiment: Experiment) -> Callable[[], object]:
    """A training step on one batch, again and again."""
    config, constants = experiment.config, experiment.constants()
    optimizer = make_optimizer(config.optimizer, config.training.steps, experiment.posterior.members)
    state = [initial_state(experiment.posterior, optimizer, config.training.seed, config.training.ema > 0)]
    step = make_step(experiment.posterior, optimizer, config.training.ema)
    drawn = next(experiment.batches())
    batch = Batch(jnp.asarray(drawn.inputs), jnp.asarray(drawn.outputs))

    def run() -> None:
        state[0] = jax.block_until_ready(step(state[0], constants, batch, drawn.grid))[0]

    return run


def scored(experiment: Experiment, params: Params, cases: CaseSet) -> Scored:
    """Of each case: its conformity score, CRPS, and the share of it inside the Gaussian interval."""
    key = jax.random.key(0)
    floor = FLOOR * params[NORMALISER + "outputs.std"]

    @jax.jit
    def score(params: Params, inputs: jax.Array, outputs: jax.Array, grid: GridOperands) -> dict[str, jax.Array]:
        predictive, weights = experiment.posterior.predict(params, inputs, grid, key), grid.weights()
        return {
            "conformity": conformity_scores(predictive, outputs, weights, "simultaneous", floor),
            "crps": scores.crps(predictive, outputs, weights),
            "coverage": scores.coverage(predictive.interval(LEVEL), outputs, weights),
        }

    parts = []
    for batch, grid, mask in experiment.one_pass(cases):
        found = score(params, batch.inputs, batch.outputs, grid)
        parts.append({name: np.asarray(values)[np.asarray(mask) > 0] for name, values in found.items()})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def over_splits(conformity: NDArray[Any]) -> NDArray[np.float64]:
    """The share of evaluation cases wholly inside the band, for each of the splits: (splits,)."""
    shares = []
    for split in range(SPLITS):
        order = np.random.default_rng(split).permutation(len(conformity))
        calibration, evaluation = np.array_split(conformity[order], 2)
        band = SplitConformal.from_scores(calibration, LEVEL, "simultaneous", 0.0)
        shares.append(float(np.mean(evaluation[:, -1] <= float(np.asarray(band.factor)))))
    return np.asarray(shares)


if __name__ == "__main__":
    run(main)
