"""Fewer members of an ensemble, or heads: those whose mixture has the least CRPS on calibration cases.

These cases calibrate nothing afterwards, or the band would be fitted on what the members were chosen to fit.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from experiments.experiment import Experiment, with_training
from experiments.scoring import batches
from pnol_jax import scores
from pnol_jax.bases import GridOperands
from pnol_jax.data import CaseSet
from pnol_jax.errors import InputError
from pnol_jax.posterior_config import EnsembleConfig, HeadsConfig
from pnol_jax.posteriors import Params
from pnol_jax.posteriors.selection import Components, count, forward, of_chosen, take

SEED = 20_011  # of which calibration cases choose


@dataclasses.dataclass(frozen=True)
class Chosen:
    """The `members` in the order in which they were chosen, by the number that they had, from so many `cases`."""

    members: tuple[int, ...]
    cases: int


def fewer_members(experiment: Experiment, params: Params, number: int) -> tuple[Experiment, Params, Chosen]:
    """The experiment with a mixture of so many components, their parameters, and which they are.

    Half of the calibration cases choose; the experiment is left with the others.

    Raises:
        InputError: the posterior has no components of its own, or not more than are asked for; no calibration cases.
    """
    posterior, cases = experiment.posterior, experiment.calibration
    if not isinstance(posterior, Components):
        name = type(experiment.config.posterior).__struct_config__.tag
        raise InputError(f"members: got posterior.name = {name!r}, expected 'ensemble' or 'heads'")
    if number >= (there := count(posterior, params)):
        raise InputError(f"members: got {number}, expected fewer than the {there} that there are")
    if cases is None or len(cases) < 2:
        raise InputError("members: got no calibration cases to choose by, expected data.calibration of at least 2")
    rest, choosing = cases.split(len(cases) // 2, SEED)
    members = forward(_mixture_losses(experiment, posterior, params, choosing), there, number)
    fewer = dataclasses.replace(experiment, config=_with_number(experiment, number), calibration=rest)
    return with_training(fewer, {}), take(posterior, params, members), Chosen(members, len(choosing))


def _with_number(experiment: Experiment, number: int) -> Any:
    posterior = experiment.config.posterior
    if isinstance(posterior, EnsembleConfig):
        return structs.replace(experiment.config, posterior=structs.replace(posterior, members=number))
    assert isinstance(posterior, HeadsConfig)
    return structs.replace(experiment.config, posterior=structs.replace(posterior, heads=number))


def _mixture_losses(
    experiment: Experiment, posterior: Components, params: Params, cases: CaseSet
) -> Callable[[Sequence[tuple[int, ...]]], NDArray[Any]]:
    """The mean CRPS over the cases of each of several sets of components, in one pass over the cases."""
    key, there = jax.random.key(experiment.config.training.seed), count(posterior, params)

    @jax.jit
    def score(params: Params, inputs: jax.Array, truth: jax.Array, grid: GridOperands, sets: jax.Array) -> jax.Array:
        each = posterior.each(params, inputs, grid, key)
        return jax.vmap(lambda chosen: scores.crps(of_chosen(each, chosen), truth, grid.weights()))(sets)

    def losses(tried: Sequence[tuple[int, ...]]) -> NDArray[Any]:
        sets = jnp.stack([jnp.zeros(there).at[jnp.asarray(chosen)].set(1) for chosen in tried])
        total = np.zeros(len(tried))
        for group in cases.groups:
            for _, batch, grid, mask in batches(experiment, CaseSet((group,), cases.time_step)):
                found = score(params, batch.inputs, batch.outputs, grid, sets)
                total += np.asarray(found, np.float64) @ (np.asarray(mask) > 0)
        return total

    return losses
