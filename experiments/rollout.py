"""How the error of a step model grows when it steps on from its own states."""

from collections.abc import Mapping
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

    parts = []
    steps = cases.groups[0].outputs.shape[1] - 1
    largest = max(1, BATCH_BYTES * len(cases) // cases.groups[0].outputs.nbytes)
    size = min(experiment.config.training.batch_size, largest, len(cases))
    compiled, shares = divided(errors, OF_CASES), case_parts()
    for batch, grid, mask in experiment.one_pass(cases, -(-size // shares) * shares, steps):
        part, kept = on_host((compiled(model.params, batch.inputs, batch.outputs, grid), mask))
        parts.append({name: values[kept > 0] for name, values in part.items()})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _adaptive(calibrator: Calibrator | None) -> AdaptiveConformal | None:
    last = calibrator.steps[-1] if isinstance(calibrator, Chain) else calibrator
    return last if isinstance(last, AdaptiveConformal) else None
