"""After training: scaling and a band from the cases that were held out."""

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from experiments.experiment import Experiment
from experiments.inputs import likelihood_ratio
from pnol_jax import calibration_config
from pnol_jax.bases import GridOperands
from pnol_jax.calibration import Asked, Calibrator, Chain
from pnol_jax.calibration.recipes import FLOOR, Known, Recipe, least, recipe, sets_band
from pnol_jax.config import ExperimentConfig
from pnol_jax.data import CaseGroup, CaseSet
from pnol_jax.errors import InputError
from pnol_jax.posteriors import Params
from pnol_jax.posteriors.protocol import NORMALISER
from pnol_jax.sharding.divide import divided
from pnol_jax.sharding.placement import OF_CASES, on_host

__all__ = ["FLOOR", "beside", "calibrate", "check_calibration", "one_of_each", "rows_of"]


def check_calibration(config: ExperimentConfig) -> None:
    """Refuse, before anything is trained, a calibration that its cases cannot give.

    Raises:
        InputError: there are too few calibration cases for the level, and the message names how many it needs; or steps
            that do not go together.
    """
    settings, cases = config.calibration, config.data.calibration - config.calibration.rollout
    steps = settings.resolved
    _check_order(steps)
    _check_steps(steps, settings.kind, len(config.data.axes))
    needed = _needed(steps, settings.level)
    if cases >= needed:
        return
    if not settings.steps:
        wish = f"which a band of level {settings.level:g} needs"
    else:
        each = zip(steps, allotted(needed, steps), strict=True)
        wish = "divided among the steps: " + ", ".join(f"{_name(step)} {part}" for step, part in each)
    raise InputError(
        f"data.calibration: got {cases} cases{beside(settings)}, expected at least {needed}, {wish}; "
        "or set calibration.kind = 'none'"
    )


def beside(settings: calibration_config.CalibrationConfig) -> str:
    """Of a number of cases, which others are held out besides."""
    return f" beside the {settings.rollout} of calibration.rollout" if settings.rollout else ""


def _check_order(steps: Sequence[calibration_config.Step]) -> None:
    bands = [position for position, step in enumerate(steps) if sets_band(step)]
    if bands and (len(bands) > 1 or bands[0] != len(steps) - 1):
        raise InputError(
            f"calibration.steps: got {[_name(step) for step in steps]}, expected at most one band (all but variance, "
            "temperature and regions), as the last step: what comes after would void it"
        )


def _check_steps(steps: Sequence[calibration_config.Step], kind: str, axes: int) -> None:
    for position, step in enumerate(steps):
        where = f"calibration.steps[{position}]"
        if isinstance(step, calibration_config.RegionsConfig) and axes and len(step.cells) != axes:
            raise InputError(f"{where}.cells: got {step.cells}, expected {axes} numbers, one per axis of the data")
        if isinstance(step, calibration_config.GroupsConfig) and step.groups < 2:
            raise InputError(f"{where}.groups: got {step.groups}, expected at least 2")
        if isinstance(step, calibration_config.WeightedConfig):
            missing = [path for path in step.inputs if not Path(path).exists()]
            if missing or not step.inputs:
                raise InputError(f"{where}.inputs: no file {missing[0]!r}" if missing else f"{where}.inputs: got none")
        if isinstance(step, calibration_config.AdaptiveConfig) and kind != "simultaneous":
            raise InputError(f"{where}: 'adaptive' is simultaneous, got calibration.kind = {kind!r}")


def _name(step: calibration_config.Step) -> str:
    return str(type(step).__struct_config__.tag)


def allotted(cases: int, steps: Sequence[calibration_config.Step]) -> list[int]:
    """How many of the calibration cases each step sees, by the steps' shares."""
    whole = math.fsum(step.share for step in steps)
    ends = [round(cases * done / whole) for done in itertools.accumulate(step.share for step in steps)]
    return [end - start for start, end in itertools.pairwise([0, *ends])]


def _needed(steps: Sequence[calibration_config.Step], level: float) -> int:
    wanted = [least(step, level) for step in steps]
    cases = sum(wanted)
    while any(part < want for part, want in zip(allotted(cases, steps), wanted, strict=True)):
        cases += 1
    return cases


def calibrate(experiment: Experiment, params: Params) -> Calibrator | None:
    """The calibrator that the config asks for, None if it asks for none.

    Each step is fitted on what those before it make of cases that they have not seen, so that a guarantee is not paid
    for twice with the same cases.
    """
    steps, cases = experiment.config.calibration.resolved, experiment.calibration
    if not steps or cases is None:
        return None
    made: list[Calibrator] = []
    for step, part in zip(steps, _divided(cases, steps, experiment.config.training.seed), strict=True):
        how = recipe(step, _known(experiment, params, step))
        made.append(how.fit(rows_of(experiment, params, how, made, part)))
    return made[0] if len(made) == 1 else Chain(tuple(made))


def _divided(cases: CaseSet, steps: Sequence[calibration_config.Step], seed: int) -> list[CaseSet]:
    parts = []
    for number, count in enumerate(allotted(len(cases), steps)[:-1]):
        cases, part = cases.split(count, seed + 1 + number)
        parts.append(part)
    return [*parts, cases]


def _known(experiment: Experiment, params: Params, step: calibration_config.Step) -> Known:
    settings = experiment.config.calibration
    assert settings.kind != "none"
    inputs, outputs = (on_host(params[f"{NORMALISER}{name}.std"]) for name in ("inputs", "outputs"))
    ratio = None
    if isinstance(step, calibration_config.WeightedConfig):
        ratio = likelihood_ratio(experiment, params, step.inputs)
    return Known(settings.level, settings.kind, inputs, outputs, ratio)


def rows_of(
    experiment: Experiment, params: Params, how: Recipe, before: Sequence[Calibrator], cases: CaseSet
) -> NDArray[Any]:
    """What a step is fitted from, (cases, numbers), in an order drawn by the seed, after the steps `before`."""
    key, before = jax.random.key(experiment.config.training.seed), on_host(before)

    def score(params: Params, inputs: jax.Array, outputs: jax.Array, grid: GridOperands) -> jax.Array:
        predictive, asked = experiment.posterior.predict(params, inputs, grid, key), Asked(inputs, grid)
        for calibrator in before:
            predictive = calibrator(predictive, asked)
        return how.scores(predictive, outputs, asked)

    compiled = divided(score, OF_CASES)

    def of(group: CaseGroup) -> NDArray[Any]:
        rows = []
        for batch, grid, mask in experiment.one_pass(CaseSet((group,), experiment.train.time_step)):
            outputs = batch.outputs if group.times is None else batch.outputs[:, 0]
            found, kept = on_host((compiled(params, batch.inputs, outputs, grid), mask))
            rows.append(found[kept > 0])
        return one_of_each(np.concatenate(rows), len(group), experiment.config.training.seed)

    rows = np.concatenate([of(group) for group in cases.groups])
    order = np.random.default_rng(experiment.config.training.seed).permutation(len(rows))
    ordered: NDArray[Any] = rows[order]
    return ordered


def one_of_each(rows: NDArray[Any], cases: int, seed: int) -> NDArray[Any]:
    """One row drawn of each case's, (cases * windows, ...) -> (cases, ...).

    The windows of a trajectory are not exchangeable with those of others, which is what the guarantee rests on; one of
    each is.
    """
    windows = rows.reshape(cases, -1, *rows.shape[1:])
    drawn: NDArray[Any] = windows[np.arange(cases), np.random.default_rng(seed).integers(windows.shape[1], size=cases)]
    return drawn
