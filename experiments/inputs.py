"""Inputs by themselves: their features, and cases whose outputs nobody knows yet."""

from collections.abc import Callable, Iterable, Sequence
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

OfInputs = Callable[[Params, jax.Array, GridOperands], jax.Array]


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


def over_cases(experiment: Experiment, params: Params, cases: CaseSet, function: OfInputs) -> list[NDArray[Any]]:
    """A pure function of (params, inputs, grid) over all cases, one array a group: (cases, ...).

    What else it knows must be arrays of the host: those of a device lie on the mesh as whole arrays, of which a program
    that is divided cannot make use. Of trajectories every state but the last is an input: (cases * windows, ...), a
    case's after the other.
    """
    compiled = divided(function, OF_CASES)
    found = []
    for group in cases.groups:
        rows = []
        for batch, grid, mask in experiment.one_pass(CaseSet((group,), cases.time_step)):
            values, kept = on_host((compiled(params, batch.inputs, grid), mask))
            rows.append(values[kept > 0])
        found.append(np.concatenate(rows))
    return found


def features_of(experiment: Experiment, params: Params, what: str, field: OfInputs) -> SpectralFeatures:
    """The features of "inputs" or "outputs", with a floor from this field of the training cases; arrays of the host."""
    lengths = [axis.length for axis in experiment.train.groups[0].grid.axes]
    mean, std = (on_host(params[f"{NORMALISER}{what}.{name}"]) for name in ("mean", "std"))
    features: SpectralFeatures = on_host(SpectralFeatures.make(experiment.bases, lengths, mean, std))

    def power(params: Params, inputs: jax.Array, grid: GridOperands) -> jax.Array:
        return features.power(field(params, inputs, grid), grid)

    fitted = features.fitted(np.concatenate(over_cases(experiment, params, experiment.train, power)))
    known: SpectralFeatures = on_host(fitted)
    return known


def input_features(experiment: Experiment, params: Params) -> SpectralFeatures:
    """The features of inputs."""
    return features_of(experiment, params, "inputs", lambda params, inputs, grid: inputs)


def likelihood_ratio(experiment: Experiment, params: Params, paths: Sequence[str]) -> LikelihoodRatio:
    """How much likelier inputs are among those of some files than among the training inputs."""
    features = input_features(experiment, params)
    sets = (experiment.train, read_inputs(experiment, paths))

    def of(params: Params, inputs: jax.Array, grid: GridOperands) -> jax.Array:
        return features(inputs, grid)

    old, new = (np.concatenate(over_cases(experiment, params, cases, of)) for cases in sets)
    ratio: LikelihoodRatio = on_host(LikelihoodRatio.fit(features, old, new))
    return ratio
