"""How the error of a step model grows when it steps on from its own states."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from numpy.typing import NDArray

from experiments.experiment import Experiment
from experiments.model import Model
from pnol_jax import collectives, scores
from pnol_jax.bases import GridOperands
from pnol_jax.calibration import AdaptiveConformal, Calibrator, Chain
from pnol_jax.collectives import CASES
from pnol_jax.data import CaseSet
from pnol_jax.posteriors import Params
from pnol_jax.posteriors.march import march
from pnol_jax.predictive import Predictive
from pnol_jax.sharding.divide import divided
from pnol_jax.sharding.placement import OF_CASES, case_parts, on_host

BATCH_BYTES = 2**26


def rollout_errors(experiment: Experiment, model: Model, cases: CaseSet) -> Mapping[str, NDArray[Any]]:
    """Relative L2 at each lead time of whole trajectories, by name: (cases, steps).

    "model": the mean, started from the first state and fed with itself; "persistence": the first state, kept. Of a
    calibrated model, "inside": 1 where the truth is in the band everywhere; of an adaptive one, "adapted": the same of
    the band that each observed state corrects before the next (`AdaptiveConformal`).
    """
    key = jax.random.key(experiment.config.training.seed)

    def errors(params: Any, inputs: jax.Array, outputs: jax.Array, grid: GridOperands) -> dict[str, jax.Array]:
        channels = outputs.shape[-1]
        first, static, weights = inputs[..., :channels], inputs[..., channels:], grid.weights()
        adaptive = _adaptive(model.calibrator(params))

        def step(
            state: tuple[jax.Array, jax.Array], truth: jax.Array
        ) -> tuple[tuple[jax.Array, jax.Array], dict[str, jax.Array]]:
            field, miscoverage = state
            predictive = model.predict(params, jnp.concatenate([field, static], axis=-1), grid, key)
            found = {
                "model": scores.relative_l2(predictive, truth, weights),
                "persistence": scores.relative_l2(replace(predictive, mean=first), truth, weights),
            }
            if predictive.lower is not None:
                found["inside"] = scores.simultaneous_coverage(predictive.band, truth, weights)
            if adaptive is not None:
                band = adaptive.band(predictive, miscoverage).band
                found["adapted"] = scores.simultaneous_coverage(band, truth, weights)
                miscoverage = adaptive.update(miscoverage, found["adapted"])
            return (predictive.mean, miscoverage), found

        start = jnp.zeros(len(first)) if adaptive is None else adaptive.start(len(first))
        by_step = lax.scan(step, (first, collectives.varying(start, CASES)), jnp.moveaxis(outputs, 1, 0))[1]
        return {name: values.T for name, values in by_step.items()}

    return _over_cases(experiment, cases, model.params, divided(errors, OF_CASES))


def rollout_scores(experiment: Experiment, model: Model, cases: CaseSet, draws: int) -> Mapping[str, NDArray[Any]]:
    """Scores at each lead time of `draws` trajectories for each case, started from the first state: (cases, steps).

    `relative_l2` and `rmse` of their mean, `spread` around it, fair `crps`, `energy_score`, and `coverage` of their
    central interval of the calibration's level.
    """
    return rollout_scorer(experiment, draws)(model.params, cases)


def rollout_scorer(experiment: Experiment, draws: int) -> Callable[[Params, CaseSet], Mapping[str, NDArray[Any]]]:
    """The function of parameters and cases that gives these scores, (cases, steps), compiled once for all of them."""
    key, level = jax.random.key(experiment.config.training.seed), experiment.config.calibration.level

    def score(params: Any, inputs: jax.Array, outputs: jax.Array, grid: GridOperands) -> dict[str, jax.Array]:
        weights = grid.weights()

        def keep(states: jax.Array, number: jax.Array) -> dict[str, jax.Array]:
            truth, predictive = outputs[:, number], drawn(states)
            return {
                "relative_l2": scores.relative_l2(predictive, truth, weights),
                "rmse": scores.rmse(predictive, truth, weights),
                "spread": scores.spread(predictive, weights, draws),
                "crps": scores.sample_crps(predictive, truth, weights),
                "energy_score": scores.energy_score(predictive, truth, weights),
                "coverage": scores.coverage(predictive.interval(level), truth, weights),
            }

        steps = outputs.shape[1]
        by_step = march(experiment.posterior, params, inputs, grid, key, steps, draws, keep)
        return {name: values.T for name, values in by_step.items()}

    compiled = divided(score, OF_CASES)
    return lambda params, cases: _over_cases(experiment, cases, params, compiled, draws)


def drawn(samples: jax.Array) -> Predictive:
    """The predictive of draws alone, (draws, batch, *space, channels): all their variance counts as epistemic."""
    mean = jnp.mean(samples, axis=0)
    variance = jnp.var(samples, axis=0, ddof=1)
    return Predictive(mean, jnp.zeros_like(mean), variance, samples)


def _over_cases(
    experiment: Experiment, cases: CaseSet, params: Params, compiled: Callable[..., Any], draws: int = 1
) -> Mapping[str, NDArray[Any]]:
    """Figures of whole trajectories, of as many at a time as memory is meant for."""
    parts = []
    steps = cases.groups[0].outputs.shape[1] - 1
    case_bytes = max(group.outputs.nbytes // len(group) for group in cases.groups)
    largest = max(1, BATCH_BYTES // (case_bytes * draws))
    size = min(experiment.config.training.batch_size, largest, len(cases))
    shares = case_parts()
    for batch, grid, mask in experiment.one_pass(cases, -(-size // shares) * shares, steps):
        part, kept = on_host((compiled(params, batch.inputs, batch.outputs, grid), mask))
        parts.append({name: values[kept > 0] for name, values in part.items()})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _adaptive(calibrator: Calibrator | None) -> AdaptiveConformal | None:
    last = calibrator.steps[-1] if isinstance(calibrator, Chain) else calibrator
    return last if isinstance(last, AdaptiveConformal) else None
