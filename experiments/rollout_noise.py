"""How much noise a step model needs so that its rollouts are as uncertain as they are wrong."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from experiments.experiment import Experiment
from experiments.model import Model
from experiments.rollout import rollout_scores
from pnol_jax.config import ExperimentConfig
from pnol_jax.data import CaseSet
from pnol_jax.errors import InputError
from pnol_jax.posterior_config import ColouredConfig
from pnol_jax.posteriors import Params
from pnol_jax.posteriors.coloured import FACTOR

DRAWS = 39  # ends of the usual intervals are then draws themselves: the 2nd and the 38th of 90%, the outermost of 95%
RANGE = (0.25, 4.0)  # of factors that are looked at
TRIES = 6
SEED = 10_007  # of which cases are taken


def check_rollout(config: ExperimentConfig) -> None:
    """Refuse, before anything is trained, noise of rollouts that there are none of.

    Raises:
        InputError: the problem is steady, the posterior's noise is not its own field, or too few cases are held out.
    """
    rollout, held = config.calibration.rollout, config.data.calibration
    if rollout and (config.data.time_step is None or not isinstance(config.posterior, ColouredConfig)):
        raise InputError(
            f"calibration.rollout: got {rollout}, expected 0, or trajectories (data.time_step) and "
            "posterior.name = 'coloured', whose noise it sets"
        )
    if rollout > held:
        raise InputError(f"calibration.rollout: got {rollout}, expected at most data.calibration = {held}")


def calibrate_rollout(experiment: Experiment, params: Params) -> tuple[Experiment, Params]:
    """The noise's factor at which intervals along rollouts hold their level, and what is left of the calibration cases.

    The errors of one step are not independent of those of the next, as the noise is; so what rollouts say counts: the
    share of the domain and the lead times inside the central interval of the calibration's level, which rises with the
    noise. The factor is found by halving.

    Raises:
        InputError: no factor within reach gives the level.
    """
    settings, held = experiment.config.calibration, experiment.calibration
    if not settings.rollout or held is None:
        return experiment, params
    rest, cases = (None, held) if settings.rollout == len(held) else held.split(settings.rollout, SEED)

    def too_little(factor: float) -> bool:
        return coverage(experiment, _with(params, factor), cases) < settings.level

    low, high = np.log(RANGE)
    if not too_little(RANGE[0]) or too_little(RANGE[1]):
        level = settings.level
        raise InputError(f"rollout: no noise of {RANGE[0]:g} to {RANGE[1]:g} times the residuals' covers {level:g}")
    for _ in range(TRIES):
        middle = (low + high) / 2
        low, high = (middle, high) if too_little(float(np.exp(middle))) else (low, middle)
    found = _with(params, float(np.exp((low + high) / 2)))
    return dataclasses.replace(experiment, calibration=rest), found


def coverage(experiment: Experiment, params: Params, cases: CaseSet) -> float:
    """The share of cases, domain and lead times inside the central interval of rollouts."""
    found = rollout_scores(experiment, Model(experiment.posterior, params, None), cases, DRAWS)
    return float(np.mean(found["coverage"]))


def _with(params: Params, factor: float) -> Params:
    return params | {FACTOR: jnp.asarray(factor, params[FACTOR].dtype)}
