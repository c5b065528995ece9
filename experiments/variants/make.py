"""A variant of a trained model: another posterior or precision, weights in fewer bits, and a calibration of its own."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from experiments.calibrate import calibrate
from experiments.experiment import Experiment, with_training
from experiments.model import CALIBRATION, OOD, Model, assembled
from experiments.risks import risks_of
from experiments.rollout_noise import calibrate_rollout
from experiments.strangeness import fit_detector
from experiments.variants.members import Chosen, fewer_members
from experiments.variants.recipe import Recipe
from pnol_jax.posteriors import Params, trained
from pnol_jax.servable import SCALE, quantise, restore
from pnol_jax.sharding.partition import Axes

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Variant:
    """A model whose `weights` are stored in another form than those that it predicts with, `model.params`.

    Its functions of them are the model's, `restoring`.
    """

    experiment: Experiment
    model: Model
    weights: Params
    chosen: Chosen | None = None


def restoring(function: F) -> F:
    """A method of the variant's model as a function of the stored weights; pure, they are its first argument."""

    def of_stored(weights: Mapping[str, jax.Array], *rest: Any, **named: Any) -> Any:
        return function(restore(weights), *rest, **named)

    return of_stored  # type: ignore[return-value]


def make_variant(experiment: Experiment, model: Model, recipe: Recipe) -> Variant:
    """The variant of a model, calibrated anew with its own predictions.

    Raises:
        InputError: the model has no members to choose among, or too few calibration cases are left.
    """
    params = {name: value for name, value in model.params.items() if not name.startswith((CALIBRATION, OOD))}
    chosen = None
    if recipe.members is not None:
        experiment, params, chosen = fewer_members(experiment, params, recipe.members)
    if recipe.bfloat16:
        experiment = with_training(experiment, {"precision": "bfloat16"})
    stored = _stored(experiment, params, recipe)
    rest, params = calibrate_rollout(experiment, params | restore(stored))
    params, guarantee, alarm = assembled(params, calibrate(rest, params), fit_detector(rest, params))
    calibrated = Model(experiment.posterior, params, guarantee, alarm, risks_of(experiment))
    return Variant(experiment, calibrated, params | stored, chosen)


def _stored(experiment: Experiment, params: Params, recipe: Recipe) -> Params:
    """Those of the weights that training changed whose form is another one."""
    found: Params = {}
    for name, value in trained(params).items():
        if recipe.int8 and value.ndim > 1 and value.size >= experiment.config.export.int8_entries:
            whole, scale = quantise(value, shared_dimensions(experiment.posterior.axes[name], value.ndim))
            found |= {name: jnp.asarray(whole), SCALE + name: jnp.asarray(scale)}
        elif recipe.bfloat16:
            found[name] = value.astype(jnp.bfloat16)
    return found


def shared_dimensions(axes: Axes, ndim: int) -> tuple[int, ...]:
    """The dimensions along which entries share a scale: from the input channels up to the last, the output channels.

    So every output channel has a scale of its own, and in a spectral kernel every mode too; real and imaginary parts
    share one.
    """
    first = axes.index("in") if "in" in axes[:-1] else ndim - 2
    return tuple(range(first, ndim - 1))
