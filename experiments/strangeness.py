"""After training: the detector of strange inputs, measured against the training cases and ranked among those held out.

It uses the same calibration cases as the band. Each guarantee is about all cases, so one does not cost the other.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

from experiments.calibrate import beside, one_of_each
from experiments.experiment import Experiment
from experiments.inputs import features_of, input_features, over_cases
from pnol_jax.bases import GridOperands
from pnol_jax.calibration import Asked
from pnol_jax.config import ExperimentConfig
from pnol_jax.errors import InputError
from pnol_jax.ood import Components, Detector, FeatureGaussian, least_for
from pnol_jax.posteriors import Params
from pnol_jax.predictive import Predictive
from pnol_jax.sharding.placement import on_host


def check_strangeness(config: ExperimentConfig) -> None:
    """Refuse, before anything is trained, a detector that the calibration cases cannot give.

    Raises:
        InputError: there are too few of them; the message names how many it needs.
    """
    if config.ood is None:
        return
    cases = config.data.calibration - config.calibration.rollout
    needed = least_for(config.ood.false_alarm)
    if cases < needed:
        raise InputError(
            f"data.calibration: got {cases} cases{beside(config.calibration)}, expected at least {needed}, which "
            f"ood.false_alarm = {config.ood.false_alarm:g} needs; or leave the section ood out"
        )


def fit_detector(experiment: Experiment, params: Params) -> Detector | None:
    """The detector of the config's rate, None if it asks for none."""
    settings, cases = experiment.config.ood, experiment.calibration
    if settings is None or cases is None:
        return None
    key = jax.random.key(experiment.config.training.seed)

    def predicted(params: Params, inputs: jax.Array, grid: GridOperands) -> Predictive:
        return experiment.posterior.predict(params, inputs, grid, key)

    def mean(params: Params, inputs: jax.Array, grid: GridOperands) -> jax.Array:
        return predicted(params, inputs, grid).mean

    given, made = input_features(experiment, params), features_of(experiment, params, "outputs", mean)

    def both(params: Params, inputs: jax.Array, grid: GridOperands) -> jax.Array:
        return jnp.concatenate([given(inputs, grid), made(mean(params, inputs, grid), grid)], axis=1)

    rows = np.concatenate(over_cases(experiment, params, experiment.train, both))
    known = FeatureGaussian.fit(rows[:, : given.width]), FeatureGaussian.fit(rows[:, given.width :], known=0)
    every: Components = on_host(Components(given, made, *known, epistemic=True))

    def components(params: Params, inputs: jax.Array, grid: GridOperands) -> jax.Array:
        return every(predicted(params, inputs, grid), Asked(inputs, grid))

    found = over_cases(experiment, params, cases, components)
    seed = experiment.config.training.seed
    each = [one_of_each(part, len(group), seed) for part, group in zip(found, cases.groups, strict=True)]
    held = np.random.default_rng(seed).permutation(np.concatenate(each))
    used = replace(every, epistemic=bool(np.ptp(held[:, -1]) > 0))
    return Detector.calibrate(used, held[:, : len(used.names)], settings.false_alarm)
