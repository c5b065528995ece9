"""Shifts of the inputs, and how well the project's detector tells shifted cases from those it knows.

The score of a case is the one number that an answer carries (`pnol_jax.ood.Detector`); AUROC over so many shifted cases
against as many test cases. A shift that is not in the inputs is invisible in principle, and a resolution at which the
same function is seen is none: both are shown with the mean's error, and do not count. Too few points for the operator's
modes are refused before anything is answered.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from numpy.typing import NDArray

from benchmarks.uq_problems import Problem
from benchmarks.uq_rows import Shift
from experiments.calibrate import one_of_each
from experiments.experiment import Experiment, source, working_type
from experiments.inputs import over_cases
from experiments.strangeness import fit_detector
from pnol_jax import scores
from pnol_jax.bases import GridOperands
from pnol_jax.calibration import Asked
from pnol_jax.data import CaseSet, read_cases
from pnol_jax.errors import InputError
from pnol_jax.ood import Detector, auroc
from pnol_jax.posteriors import Params
from pnol_jax.sharding.placement import on_host

SHOWN = ("deterministic", "laplace", "ensemble")  # posteriors whose detectors are tried
SEED = 2


class Shifted(NamedTuple):
    """Cases of other parameters or on another grid; `why` it does not count, if it does not."""

    words: tuple[str, ...] = ()
    points: int | None = None
    why: str = ""


SAME = "the same functions: no shift of the inputs"
COARSE = "fewer points than the operator has modes"
SHIFTS: Mapping[str, Mapping[str, Shifted]] = {
    "darcy": {
        "contrast 18.6 to 9.3": Shifted(("high=9.3",)),
        "contrast 18.6 to 37": Shifted(("high=37.2",)),
        "correlation length / 3": Shifted(("tau=9",)),
        "64 points": Shifted(points=64, why=SAME),
        "8 points": Shifted(points=8, why=COARSE),
    },
    "burgers": {
        "amplitude times 2": Shifted(("sigma=50", "resolution=1024", "substeps=4000")),
        "amplitude / 2": Shifted(("sigma=12.5",)),
        "rougher, (-d2 + 25)^-1.5": Shifted(("alpha=1.5", "sigma=11.18")),
        "viscosity 0.01 to 0.03": Shifted(("viscosity=0.03",), why="u(0) does not know the viscosity"),
        "256 points": Shifted(points=256, why=SAME),
        "32 points": Shifted(points=32, why=COARSE),
    },
    "kuramoto_sivashinsky": {
        "viscosity 1 to 1.5": Shifted(("viscosity=1.5",)),
        "viscosity 1 to 0.7": Shifted(("viscosity=0.7",)),
        "forcing cos(2 pi 4 x / L)": Shifted(("forcing=1", "forcing_wave=4")),
        "256 points": Shifted(points=256, why=SAME),
        "64 points": Shifted(points=64, why=COARSE),
    },
}


def counted(problem: str) -> list[str]:
    """The shifts of a problem that the detector is held to."""
    return [name for name, shift in SHIFTS[problem].items() if not shift.why]


def shifts_of(problem: Problem, experiment: Experiment, params: Params) -> dict[str, Shift]:
    """Every shift of the problem, seen by the detector of a trained posterior."""
    detector = on_host(fit_detector(experiment, params))
    known = _strangeness(experiment, params, detector, experiment.test[0])[: problem.sizes.shifted]
    found = {}
    for number, (name, shift) in enumerate(SHIFTS[problem.name].items()):
        if problem.quick and 0 < number < len(SHIFTS[problem.name]) - 1:
            continue
        cases = _cases(problem, experiment, f"shift_{number}", shift)
        try:
            strange = _strangeness(experiment, params, detector, cases)
        except InputError as error:
            found[name] = Shift(None, None, str(error))
            continue
        found[name] = Shift(auroc(known, strange), float(np.mean(_errors(experiment, params, cases))))
    return found


def _cases(problem: Problem, experiment: Experiment, name: str, shift: Shifted) -> CaseSet:
    short = ("steps=1",) if problem.sizes.leads else ()
    folder = problem.simulate(name, problem.sizes.shifted, SEED, (*shift.words, *short), shift.points)
    data = experiment.config.data
    return read_cases([folder], source(data, working_type(experiment.config), data.outputs))


def _strangeness(experiment: Experiment, params: Params, detector: Detector, cases: CaseSet) -> NDArray[Any]:
    """The score of each case; of a trajectory that of one of its states."""
    key, seed = jax.random.key(experiment.config.training.seed), experiment.config.training.seed

    def strange(params: Params, inputs: jax.Array, grid: GridOperands) -> jax.Array:
        return detector(experiment.posterior.predict(params, inputs, grid, key), Asked(inputs, grid))

    [rows] = over_cases(experiment, params, cases, strange)
    return one_of_each(rows, len(cases), seed)


def _errors(experiment: Experiment, params: Params, cases: CaseSet) -> NDArray[Any]:
    """The relative L2 error of the mean, of one step, (cases,)."""
    key = jax.random.key(0)

    @jax.jit
    def error(params: Params, inputs: jax.Array, outputs: jax.Array, grid: GridOperands) -> jax.Array:
        truth = outputs if outputs.ndim == inputs.ndim else outputs[:, 0]
        return scores.relative_l2(experiment.posterior.predict(params, inputs, grid, key), truth, grid.weights())

    parts = [
        np.asarray(error(params, batch.inputs, batch.outputs, grid))[np.asarray(mask) > 0]
        for batch, grid, mask in experiment.one_pass(cases)
    ]
    return np.concatenate(parts)
