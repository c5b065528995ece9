"""A trained model: the posterior's parameters, with its calibrator's among them, and one function that predicts."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax

from experiments import runs
from experiments.experiment import Experiment
from experiments.risks import by_draws, exact, risks_of
from pnol_jax.bases import GridOperands
from pnol_jax.calibration import Asked, Calibrator, calibrator_from_dict
from pnol_jax.errors import InputError
from pnol_jax.files import write_atomically
from pnol_jax.ood import Detector
from pnol_jax.posteriors import Params, Posterior
from pnol_jax.posteriors.march import stepping
from pnol_jax.predictive import Predictive
from pnol_jax.risk import Risk, from_draws, from_functional, from_marginals, functional_after, linear_weights
from pnol_jax.sharding.divide import current_mesh
from pnol_jax.sharding.placement import parameter_specs, placed

CALIBRATION, OOD = "calibration.", "ood."
GUARANTEE, ALARM = "calibration.json", "ood.json"


@dataclass(frozen=True)
class Model:
    """A posterior with `params`, the weights of everything.

    `guarantee` is what their calibration promises, `alarm` what the detector of strange inputs does, None without one;
    `risks` are the quantities that are said of each case besides.
    """

    posterior: Posterior
    params: Params
    guarantee: dict[str, Any] | None
    alarm: dict[str, Any] | None = None
    risks: tuple[Risk, ...] = ()

    def predict(
        self,
        weights: Mapping[str, jax.Array],
        inputs: jax.Array,
        grid: GridOperands,
        key: jax.Array,
        *,
        num_samples: int = 0,
    ) -> Predictive:
        """The predictive distribution at (batch, *space, in), calibrated; pure, its weights are arguments."""
        predictive, asked = self.posterior.predict(dict(weights), inputs, grid, key, num_samples), Asked(inputs, grid)
        calibrator = self.calibrator(weights)
        calibrated = predictive if calibrator is None else calibrator(predictive, asked)
        figures = self._drawn(calibrated, grid) if num_samples else self._known(weights, predictive, calibrated, asked)
        return replace(calibrated, figures=figures) if figures else calibrated

    def functional(
        self, weights: Mapping[str, jax.Array], inputs: jax.Array, grid: GridOperands, functional: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Mean and variance of int sum_c w_c u_c dx, (batch,), w (batch, *space, channels): exact, calibrated, pure.

        For a posterior that knows them (`experiments.risks.exact`).
        """
        params = dict(weights)
        moments = [part[:, 0] for part in exact(self.posterior)(params, inputs, grid, functional[None])]
        before = self.posterior.predict(params, inputs, grid, jax.random.key(0, impl="threefry2x32"))
        calibrator = self.calibrator(weights)
        after = before if calibrator is None else calibrator(before, Asked(inputs, grid))
        return functional_after((moments[0], moments[1], moments[2]), functional, before, after, grid)

    def advance(
        self,
        weights: Mapping[str, jax.Array],
        inputs: jax.Array,
        grid: GridOperands,
        function: jax.Array,
        noise: jax.Array,
    ) -> jax.Array:
        """As `pnol_jax.posteriors.march.Marching` has it, of (draws, batch, *space, in), if the posterior has draws."""
        return stepping(self.posterior)(dict(weights), inputs, grid, function, noise)

    def calibrator(self, weights: Mapping[str, jax.Array]) -> Calibrator | None:
        """The calibrator whose arrays, of any shape, are among the weights, None without one."""
        return calibrator_from_dict(under(CALIBRATION, weights), self.guarantee) if self.guarantee else None

    def _drawn(self, calibrated: Predictive, grid: GridOperands) -> dict[str, jax.Array]:
        return from_draws([risk for risk in self.risks if by_draws(risk, self.posterior)], calibrated, grid)

    def _known(
        self, weights: Mapping[str, jax.Array], predictive: Predictive, calibrated: Predictive, asked: Asked
    ) -> dict[str, jax.Array]:
        """What is said of each case without drawing."""
        figures, grid = {}, asked.grid
        if self.alarm is not None:
            figures["ood"] = Detector.from_dict(under(OOD, weights), self.alarm)(predictive, asked)
        figures |= from_marginals([risk for risk in self.risks if risk.of_marginals], calibrated, grid)
        linear = [risk for risk in self.risks if not (risk.of_marginals or by_draws(risk, self.posterior))]
        if linear:
            w = linear_weights(linear, grid, predictive.mean.shape[-1]).astype(predictive.mean.dtype)
            moments = exact(self.posterior)(dict(weights), asked.inputs, grid, w)
            figures |= from_functional(linear, moments, w, predictive, calibrated, grid)
        return figures


def under(lead: str, weights: Mapping[str, jax.Array]) -> Params:
    """The arrays, of any shape, whose names begin with `lead`, without it."""
    return {name.removeprefix(lead): value for name, value in weights.items() if name.startswith(lead)}


def withdraw(folder: Path) -> None:
    """Take back what a run's calibration promises, before anything changes that it rests on."""
    if runs.leads():
        for name in (GUARANTEE, ALARM):
            (folder / name).unlink(missing_ok=True)


def save_trained(folder: Path, params: Params) -> None:
    """Write parameters that are not calibrated yet into a run's folder."""
    withdraw(folder)
    runs.save_model(folder, params)


def assembled(
    params: Params, calibrator: Calibrator | None, detector: Detector | None
) -> tuple[Params, dict[str, Any] | None, dict[str, Any] | None]:
    """The weights of everything, what the calibration promises, and what the detector does."""
    arrays, guarantee = calibrator.to_dict() if calibrator else ({}, None)
    strange, alarm = detector.to_dict() if detector else ({}, None)
    beside = {CALIBRATION + name: value for name, value in arrays.items()}
    return params | beside | {OOD + name: value for name, value in strange.items()}, guarantee, alarm


def save_model(folder: Path, params: Params, calibrator: Calibrator | None, detector: Detector | None = None) -> None:
    """Write parameters, calibrator and detector into a run's folder."""
    whole, guarantee, alarm = assembled(params, calibrator, detector)
    save_trained(folder, whole)
    if runs.leads():
        write_atomically(folder / ALARM, json.dumps(alarm, indent=2) + "\n")
        write_atomically(folder / GUARANTEE, json.dumps(guarantee, indent=2) + "\n")


def trained_params(folder: Path, experiment: Experiment) -> Params:
    """The parameters of a trained run, those of its calibration included, put on the mesh at hand."""
    params, mesh = runs.load_model(folder), current_mesh()
    return params if mesh is None else placed(params, parameter_specs(params, experiment.posterior.axes, mesh))


def load_model(folder: Path, experiment: Experiment) -> Model:
    """The trained model of a run, put on the mesh at hand.

    Raises:
        InputError: training or calibration has not finished, or a file is damaged.
    """
    params = trained_params(folder, experiment)
    if not (folder / GUARANTEE).is_file():
        raise InputError(
            f"{folder}: no {GUARANTEE}: its calibration has not finished; python -m experiments.recalibrate {folder}"
        )
    guarantee = json.loads((folder / GUARANTEE).read_text(encoding="utf-8"))
    alarm = folder / ALARM
    strange = json.loads(alarm.read_text(encoding="utf-8")) if alarm.is_file() else None
    return Model(experiment.posterior, params, guarantee, strange, risks_of(experiment))
