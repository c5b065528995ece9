"""Inputs by themselves: their features, and cases whose outputs nobody knows yet."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from experiments.experiment import Experiment, source, working_type
from pnol_jax.bases import GridOperands
from pnol_jax.calibration import LikelihoodRatio
from pnol_jax.data import CaseSet, read_cases
from pnol_jax.errors import InputError
from pnol_jax.features import SpectralFeatures
from pnol_jax.posteriors import Params
from pnol_jax.posteriors.protocol import NORMALISER
from pnol_jax.sharding.divide import divided
from pnol_jax.sharding.placement import OF_CASES, on_host


def read_inputs(experiment: Experiment, paths: Iterable[str]) -> CaseSet:
    """Cases of which only the inputs count: of a steady problem their files need not hold outputs.

    Raises:
        InputError: a file is missing or wrong, or its inputs are not those of the training cases.
    """
    data = experiment.config.data
    names = data.outputs if experiment.train.trajectories else data.inputs
    cases = read_cases([Path(path) for path in paths], source(data, working_type(experiment.config), names))
    if cases.input_channels != experiment.train.input_channels:
        raise InputError(
            f"inputs: got {cases.input_channels} channels, expected the {experiment.train.input_channels} of training"
        )
    return cases


def over_inputs(experiment: Experiment, cases: CaseSet, function: Any, *leading: Any) -> NDArray[Any]:
    """A pure function of (*leading, inputs, grid) over all cases, one row each; of a trajectory its first state's."""
    compiled = divided(function, OF_CASES)

    def parts() -> Iterator[NDArray[Any]]:
        for group in cases.groups:
            rows = []
            for batch, grid, mask in experiment.one_pass(CaseSet((group,), cases.time_step)):
                found, kept = on_host((compiled(*leading, batch.inputs, grid), mask))
                rows.append(found[kept > 0])
            whole = np.concatenate(rows)
            yield whole.reshape(len(group), -1, *whole.shape[1:])[:, 0]

    return np.concatenate(list(parts()))


def input_features(experiment: Experiment, params: Params) -> SpectralFeatures:
    """The features of inputs, with a floor from the training cases."""
    lengths = [axis.length for axis in experiment.train.groups[0].grid.axes]
    mean, std = (on_host(params[f"{NORMALISER}inputs.{name}"]) for name in ("mean", "std"))
    features = SpectralFeatures.make(experiment.bases, lengths, mean, std)
    power = over_inputs(experiment, experiment.train, lambda inputs, grid: features.power(inputs, grid))
    return features.fitted(power)


def likelihood_ratio(experiment: Experiment, params: Params, paths: Sequence[str]) -> LikelihoodRatio:
    """How much likelier inputs are among those of some files than among the training inputs."""
    features = input_features(experiment, params)

    def of(inputs: jax.Array, grid: GridOperands) -> jax.Array:
        return features(inputs, grid)

    old, new = (over_inputs(experiment, cases, of) for cases in (experiment.train, read_inputs(experiment, paths)))
    return LikelihoodRatio.fit(features, old, new)
