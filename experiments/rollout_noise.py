"""What noise a step model needs so that its rollouts are as uncertain as they are wrong, soon and late."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from experiments.experiment import Experiment
from experiments.rollout import rollout_scorer
from pnol_jax.config import ExperimentConfig
from pnol_jax.data import CaseSet
from pnol_jax.errors import InputError
from pnol_jax.posterior_config import ColouredConfig
from pnol_jax.posteriors import Params
from pnol_jax.posteriors.coloured import FACTOR, LASTING, undisturbed

DRAWS = 39  # ends of the usual intervals are then draws themselves: the 2nd and the 38th of 90%, the outermost of 95%
RANGE = (0.25, 4.0)  # of factors that are looked at
TRIES = 6
SEED = 10_007  # of which cases are taken


def check_rollout(config: ExperimentConfig) -> None:
    """Refuse, before anything is trained, noise of rollouts that there are none of.

    Raises:
        InputError: the problem is steady, the posterior's noise is not its own field, or too few cases are held out.
    """
    rollout, held, start = config.calibration.rollout, config.data.calibration, config.calibration.rollout_start
    if rollout and (config.data.time_step is None or not isinstance(config.posterior, ColouredConfig)):
        raise InputError(
            f"calibration.rollout: got {rollout}, expected 0, or trajectories (data.time_step) and "
            "posterior.name = 'coloured', whose noise it sets"
        )
    if rollout > held:
        raise InputError(f"calibration.rollout: got {rollout}, expected at most data.calibration = {held}")
    if start and not rollout:
        raise InputError(f"calibration.rollout_start: got {start}, expected 0, as calibration.rollout is 0")


def check_trajectories(experiment: Experiment) -> None:
    """Refuse, before anything is trained, trajectories that are too short for where their calibration starts.

    Raises:
        InputError: the message names the last state that they may start at.
    """
    settings, cases = experiment.config.calibration, experiment.calibration
    if settings.rollout and cases is not None and (times := _times(cases)) - settings.rollout_start < 2:
        raise InputError(
            f"calibration.rollout_start: got {settings.rollout_start}, expected at most {times - 2}: there are {times} "
            "states"
        )


def calibrate_rollout(experiment: Experiment, params: Params) -> tuple[Experiment, Params]:
    """The noise with which intervals along rollouts hold their level, and what is left of the calibration cases.

    What counts is the share of the domain inside the central interval of the calibration's level. Of the first step it
    rises with the noise, which sets the factor. After that the share that lasts matters too: errors that resemble each
    other from step to step add up faster than those that do not. It is set so that the level is held over all lead
    times; where no share does that, the factor has to.

    Raises:
        InputError: no noise within reach gives the level.
    """
    settings, held = experiment.config.calibration, experiment.calibration
    if FACTOR in params:
        params = params | undisturbed(params[FACTOR])
    if not settings.rollout or held is None:
        return experiment, params
    rest, cases = (None, held) if settings.rollout == len(held) else held.split(settings.rollout, SEED)
    cases = _between(cases, settings.rollout_start, _times(cases))
    first, score = _between(cases, 0, 2), rollout_scorer(experiment, DRAWS)

    def factor(lasting: float, cases: CaseSet) -> float:
        found = _solved(lambda x: covered(float(np.exp(x)), lasting, cases), settings.level, *np.log(RANGE))
        return float(np.exp(found))

    def covered(factor: float, lasting: float, cases: CaseSet) -> float:
        return coverage(score, _with(params, factor, lasting), cases)

    size = factor(0.0, first)
    lasting = _solved(lambda share: covered(size, share, cases), settings.level, 0.0, 1.0)
    if lasting in (0.0, 1.0):
        size = factor(lasting, cases)
    if np.isclose(size, RANGE).any():
        raise InputError(
            f"rollout: no noise of {RANGE[0]:g} to {RANGE[1]:g} times the residuals' covers {settings.level:g}"
        )
    return dataclasses.replace(experiment, calibration=rest), _with(params, size, lasting)


def _solved(rising: Callable[[float], float], level: float, low: float, high: float) -> float:
    """Where a rising function has the level, by halving; the nearer end where it has it nowhere."""
    if rising(low) >= level:
        return low
    if rising(high) <= level:
        return high
    for _ in range(TRIES):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < level else (low, middle)
    return (low + high) / 2


def _times(cases: CaseSet) -> int:
    """How many states all trajectories have."""
    return min(group.outputs.shape[1] for group in cases.groups)


def _between(cases: CaseSet, first: int, last: int) -> CaseSet:
    """The trajectories from one state on, up to before another."""
    groups = (dataclasses.replace(group, outputs=group.outputs[:, first:last]) for group in cases.groups)
    return dataclasses.replace(cases, groups=tuple(groups))


def coverage(score: Callable[[Params, CaseSet], Mapping[str, Any]], params: Params, cases: CaseSet) -> float:
    """The share of cases, domain and lead times inside the central interval of rollouts.

    Draws that left the numbers are too many and not too few, so that what asks for less noise is told of less.
    """
    found = score(params, cases)
    return float(np.mean(np.where(np.isfinite(found["spread"]), found["coverage"], 1.0)))


def _with(params: Params, factor: float, lasting: float) -> Params:
    dtype = params[FACTOR].dtype
    return params | {FACTOR: jnp.asarray(factor, dtype), LASTING: jnp.asarray(lasting, dtype)}
