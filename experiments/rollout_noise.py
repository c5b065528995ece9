"""How much noise a step model needs so that its rollouts are as uncertain as they are wrong."""

import jax.numpy as jnp
import numpy as np

from experiments.experiment import Experiment
from experiments.model import Model
from experiments.rollout import rollout_scores
from pnol_jax.data import CaseSet
from pnol_jax.errors import InputError
from pnol_jax.posteriors import Params
from pnol_jax.posteriors.coloured import FACTOR

DRAWS = 39  # ends of the usual intervals are then draws themselves: the 2nd and the 38th of 90%, the outermost of 95%
RANGE = (0.25, 4.0)  # of factors that are looked at
TRIES = 6


def calibrate_rollout(experiment: Experiment, params: Params) -> Params:
    """The parameters with the noise's factor at which intervals along rollouts of calibration cases hold their level.

    The errors of one step are not independent of those of the next, as the noise is; so what rollouts say counts: the
    share of the domain and the lead times inside the central interval of the calibration's level, which rises with the
    noise. The factor is found by halving.

    Raises:
        InputError: the config holds no trajectories out; or no factor within reach gives the level.
    """
    cases, level = experiment.calibration, experiment.config.calibration.level
    if cases is None or cases.time_step is None:
        raise InputError("rollout: got no trajectories for calibration, expected some (data.calibration)")

    def too_little(factor: float) -> bool:
        return coverage(experiment, _with(params, factor), cases) < level

    low, high = np.log(RANGE)
    if not too_little(RANGE[0]) or too_little(RANGE[1]):
        raise InputError(f"rollout: no noise of {RANGE[0]:g} to {RANGE[1]:g} times the residuals' covers {level:g}")
    for _ in range(TRIES):
        middle = (low + high) / 2
        low, high = (middle, high) if too_little(float(np.exp(middle))) else (low, middle)
    return _with(params, float(np.exp((low + high) / 2)))


def coverage(experiment: Experiment, params: Params, cases: CaseSet) -> float:
    """The share of cases, domain and lead times inside the central interval of rollouts."""
    found = rollout_scores(experiment, Model(experiment.posterior, params, None), cases, DRAWS)
    return float(np.mean(found["coverage"]))


def _with(params: Params, factor: float) -> Params:
    return params | {FACTOR: jnp.asarray(factor, params[FACTOR].dtype)}
