"""After training: a conformal band from the cases that were held out."""

import jax
import jax.numpy as jnp
import numpy as np

from experiments.experiment import Experiment
from pnol_jax.bases import GridOperands
from pnol_jax.calibration import SplitConformal, conformity_scores
from pnol_jax.errors import InputError
from pnol_jax.posteriors import Params
from pnol_jax.posteriors.protocol import NORMALISER

# The least modulation of a band, in standard deviations of the outputs over the training cases.
FLOOR = 1e-3


def calibrate(experiment: Experiment, params: Params) -> SplitConformal | None:
    """The calibrator of the config's kind and level, None if it asks for none.

    Raises:
        InputError: there are too few calibration cases for the level; the message names how many it needs.
    """
    settings = experiment.config.calibration
    if settings.kind == "none":
        return None
    if experiment.calibration is None:
        raise InputError(
            f"data.calibration: got 0 cases, expected some for calibration.kind = {settings.kind!r}; "
            "hold training cases out, or set calibration.kind = 'none'"
        )
    kind = settings.kind
    floor = FLOOR * params[NORMALISER + "outputs.std"]
    key = jax.random.key(experiment.config.training.seed)

    @jax.jit
    def score(params: Params, inputs: jax.Array, outputs: jax.Array, grid: GridOperands) -> jax.Array:
        predictive = experiment.posterior.predict(params, inputs, grid, key)
        return conformity_scores(predictive, outputs, grid.weights(), kind, floor)

    rows = []
    for batch, grid, mask in experiment.one_pass(experiment.calibration):
        outputs = batch.outputs if experiment.train.time_step is None else batch.outputs[:, 0]
        rows.append(np.asarray(score(params, batch.inputs, jnp.asarray(outputs), grid))[np.asarray(mask) > 0])
    return SplitConformal.from_scores(np.concatenate(rows), settings.level, kind, floor)
