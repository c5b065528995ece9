"""A variant of a trained model: another posterior or precision, weights in fewer bits, and a calibration of its own."""

from collections.abc import Mapping
from dataclasses import dataclass

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
from pnol_jax.bases import GridOperands
from pnol_jax.posteriors import Params, trained
from pnol_jax.predictive import Predictive
from pnol_jax.servable import SCALE, quantise, restore
from pnol_jax.sharding.partition import Axes


@dataclass(frozen=True)
class Variant:
    """A model whose `weights` are stored in another form than those that it predicts with, `model.params`."""

    experiment: Experiment
    model: Model
    weights: Params
    chosen: Chosen | None = None

    def predict(
        self,
        weights: Mapping[str, jax.Array],
        inputs: jax.Array,
        grid: GridOperands,
        key: jax.Array,
        *,
        num_samples: int = 0,
    ) -> Predictive:
        """The model's predictive distribution; pure, the stored weights are its arguments."""
        return self.model.predict(restore(weights), inputs, grid, key, num_samples=num_samples)

    def functional(
        self, weights: Mapping[str, jax.Array], inputs: jax.Array, grid: GridOperands, functional: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """The model's linear functionals, where it knows them."""
        return self.model.functional(restore(weights), inputs, grid, functional)


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
