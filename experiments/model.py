"""A trained model: the posterior's parameters, with its calibrator's among them, and one function that predicts."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax

from experiments import runs
from experiments.experiment import Experiment
from pnol_jax.bases import GridOperands
from pnol_jax.calibration import Asked, Calibrator, calibrator_from_dict
from pnol_jax.files import write_atomically
from pnol_jax.ood import Detector
from pnol_jax.posteriors import Params, Posterior
from pnol_jax.predictive import Predictive
from pnol_jax.sharding.divide import current_mesh
from pnol_jax.sharding.placement import parameter_specs, placed

CALIBRATION, OOD = "calibration.", "ood."
GUARANTEE, ALARM = "calibration.json", "ood.json"


@dataclass(frozen=True)
class Model:
    """A posterior with `params`, the weights of everything.

    `guarantee` is what their calibration promises, `alarm` what the detector of strange inputs does; None without one.
    """

    posterior: Posterior
    params: Params
    guarantee: dict[str, Any] | None
    alarm: dict[str, Any] | None = None

    def predict(
        self,
        weights: Mapping[str, jax.Array],
        inputs: jax.Array,
        grid: GridOperands,
        key: jax.Array,
        *,
        num_samples: int = 0,
    ) -> Predictive:
        """The posterior's predictive distribution, calibrated; pure, its weights are arguments."""
        predictive, asked = self.posterior.predict(dict(weights), inputs, grid, key, num_samples), Asked(inputs, grid)
        calibrated = predictive
        if self.guarantee is not None:
            calibrated = calibrator_from_dict(under(CALIBRATION, weights), self.guarantee)(predictive, asked)
        if self.alarm is not None:
            strangeness = Detector.from_dict(under(OOD, weights), self.alarm)(predictive, asked)
            calibrated = replace(calibrated, figures={"ood": strangeness})
        return calibrated


def under(lead: str, weights: Mapping[str, jax.Array]) -> Params:
    """The arrays whose names begin with `lead`, without it."""
    return {name.removeprefix(lead): value for name, value in weights.items() if name.startswith(lead)}


def save_model(folder: Path, params: Params, calibrator: Calibrator | None, detector: Detector | None = None) -> None:
    """Write parameters, calibrator and detector into a run's folder."""
    arrays, guarantee = calibrator.to_dict() if calibrator else ({}, None)
    strange, alarm = detector.to_dict() if detector else ({}, None)
    beside = {CALIBRATION + name: value for name, value in arrays.items()}
    runs.save_model(folder, params | beside | {OOD + name: value for name, value in strange.items()})
    if runs.leads():
        write_atomically(folder / GUARANTEE, json.dumps(guarantee, indent=2) + "\n")
        write_atomically(folder / ALARM, json.dumps(alarm, indent=2) + "\n")


def load_model(folder: Path, experiment: Experiment) -> Model:
    """The trained model of a run, put on the mesh at hand."""
    params, mesh = runs.load_model(folder), current_mesh()
    if mesh is not None:
        params = placed(params, parameter_specs(params, experiment.posterior.axes, mesh))
    guarantee = json.loads((folder / GUARANTEE).read_text(encoding="utf-8"))
    alarm = folder / ALARM
    strange = json.loads(alarm.read_text(encoding="utf-8")) if alarm.is_file() else None
    return Model(experiment.posterior, params, guarantee, strange)
