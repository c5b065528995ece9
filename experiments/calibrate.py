"""After training: a conformal band from the cases that were held out."""

from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from experiments.experiment import Experiment
from pnol_jax.bases import GridOperands
from pnol_jax.calibration import SplitConformal, conformity_scores, least_cases
from pnol_jax.config import ExperimentConfig
from pnol_jax.data import CaseGroup, CaseSet
from pnol_jax.errors import InputError
from pnol_jax.posteriors import Params
from pnol_jax.posteriors.protocol import NORMALISER
from pnol_jax.sharding.divide import divided
from pnol_jax.sharding.placement import OF_CASES, on_host

# The least modulation of a band, in standard deviations of the outputs over the training cases.
FLOOR = 1e-3


def check_calibration(config: ExperimentConfig) -> None:
    """Refuse, before anything is trained, a calibration that its cases cannot give.

    Raises:
        InputError: there are too few calibration cases for the level; the message names how many it needs.
    """
    settings, cases = config.calibration, config.data.calibration
    if settings.kind != "none" and cases < least_cases(settings.level):
        raise InputError(
            f"data.calibration: got {cases} cases, expected at least {least_cases(settings.level)}, which a band of "
            f"level {settings.level:g} needs; or set calibration.kind = 'none'"
        )


def calibrate(experiment: Experiment, params: Params) -> SplitConformal | None:
    """The calibrator of the config's kind and level, None if it asks for none."""
    settings = experiment.config.calibration
    if settings.kind == "none" or experiment.calibration is None:
        return None
    kind = settings.kind
    floor = FLOOR * on_host(params[NORMALISER + "outputs.std"])
    key = jax.random.key(experiment.config.training.seed)

    def score(params: Params, inputs: jax.Array, outputs: jax.Array, grid: GridOperands) -> jax.Array:
        predictive = experiment.posterior.predict(params, inputs, grid, key)
        return conformity_scores(predictive, outputs, grid.weights(), kind, floor)

    compiled = divided(score, OF_CASES)

    def scores_of(group: CaseGroup) -> NDArray[Any]:
        rows = []
        for batch, grid, mask in experiment.one_pass(CaseSet((group,), experiment.train.time_step)):
            outputs = batch.outputs if group.times is None else batch.outputs[:, 0]
            found, kept = on_host((compiled(params, batch.inputs, outputs, grid), mask))
            rows.append(found[kept > 0])
        return one_of_each(np.concatenate(rows), len(group), experiment.config.training.seed)

    rows = np.concatenate([scores_of(group) for group in experiment.calibration.groups])
    return SplitConformal.from_scores(rows, settings.level, kind, floor)


def one_of_each(rows: NDArray[Any], cases: int, seed: int) -> NDArray[Any]:
    """One row drawn of each case's, (cases * windows, ...) -> (cases, ...).

    The windows of a trajectory are not exchangeable with those of others, which is what the guarantee rests on; one of
    each is.
    """
    windows = rows.reshape(cases, -1, *rows.shape[1:])
    drawn: NDArray[Any] = windows[np.arange(cases), np.random.default_rng(seed).integers(windows.shape[1], size=cases)]
    return drawn
