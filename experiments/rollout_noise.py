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

DRAWS = 16
RANGE = (0.25, 16.0)  # of factors that are looked at
TRIES = 8


def calibrate_rollout(experiment: Experiment, params: Params) -> Params:
    """The parameters with the noise's factor for which spread equals skill over whole rollouts of calibration cases.

    Errors of one step are not independent of those of the next, as the noise is; what rollouts say counts. The spread
    is at every lead time that of all cases, and the mean of the logarithm of spread over skill is brought to zero by
    halving.

    Raises:
        InputError: the config holds no calibration cases out, or the problem is steady.
    """
    cases = experiment.calibration
    if cases is None or cases.time_step is None:
        raise InputError("rollout: got no trajectories for calibration, expected data.calibration of some")
    low, high = np.log(RANGE)
    for _ in range(TRIES):
        middle = (low + high) / 2
        if log_spread_skill(experiment, _with(params, np.exp(middle)), cases) > 0:
            high = middle
        else:
            low = middle
    return _with(params, np.exp((low + high) / 2))


def log_spread_skill(experiment: Experiment, params: Params, cases: CaseSet) -> float:
    """The mean over lead times of log(spread / skill), zero where a rollout is as uncertain as it is wrong."""
    found = rollout_scores(experiment, Model(experiment.posterior, params, None), cases, DRAWS)
    spread, skill = (np.sqrt(np.mean(np.square(found[name]), axis=0)) for name in ("spread", "rmse"))
    return float(np.mean(np.log(spread / skill)))


def _with(params: Params, factor: float) -> Params:
    return params | {FACTOR: jnp.asarray(factor, params[FACTOR].dtype)}
