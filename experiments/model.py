"""A trained model: the posterior's parameters, with its calibrator's among them, and one function that predicts."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from experiments import runs
from experiments.experiment import Experiment
from pnol_jax.bases import GridOperands
from pnol_jax.calibration import Asked, Calibrator, calibrator_from_dict
from pnol_jax.files import write_atomically
from pnol_jax.posteriors import Params, Posterior
from pnol_jax.predictive import Predictive
from pnol_jax.sharding.divide import current_mesh
from pnol_jax.sharding.placement import parameter_specs, placed

CALIBRATION = "calibration."
GUARANTEE = "calibration.json"


@dataclass(frozen=True)
class Model:
    """`params` are the weights of everything, `guarantee` what their calibration promises (None without one)."""

    posterior: Posterior
    params: Params
    guarantee: dict[str, Any] | None

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
        predictive = self.posterior.predict(dict(weights), inputs, grid, key, num_samples)
        if self.guarantee is None:
            return predictive
        arrays = {
            name.removeprefix(CALIBRATION): value for name, value in weights.items() if name.startswith(CALIBRATION)
        }
        return calibrator_from_dict(arrays, self.guarantee)(predictive, Asked(inputs, grid))


def save_model(folder: Path, params: Params, calibrator: Calibrator | None) -> None:
    """Write parameters and calibrator into a run's folder."""
    arrays, guarantee = calibrator.to_dict() if calibrator else ({}, None)
    runs.save_model(folder, params | {CALIBRATION + name: value for name, value in arrays.items()})
    if runs.leads():
        write_atomically(folder / GUARANTEE, json.dumps(guarantee, indent=2) + "\n")


def load_model(folder: Path, experiment: Experiment) -> Model:
    """The trained model of a run, put on the mesh at hand."""
    params, mesh = runs.load_model(folder), current_mesh()
    if mesh is not None:
        params = placed(params, parameter_specs(params, experiment.posterior.axes, mesh))
    guarantee = json.loads((folder / GUARANTEE).read_text(encoding="utf-8"))
    return Model(experiment.posterior, params, guarantee)
