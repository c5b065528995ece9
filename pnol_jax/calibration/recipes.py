"""How each step of a config is fitted: what is computed of a case, and what is made of the rows of all cases."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from numpy.typing import NDArray

from pnol_jax import calibration_config as config
from pnol_jax.calibration.adaptive import AdaptiveConformal
from pnol_jax.calibration.ball import NormBall, ball_scores
from pnol_jax.calibration.bounds import least_for_risk
from pnol_jax.calibration.conformal import SplitConformal
from pnol_jax.calibration.conformity import Kind, conformity_scores, least_cases
from pnol_jax.calibration.control import RiskControl
from pnol_jax.calibration.groups import GroupConformal, enough_for_groups, group_variable
from pnol_jax.calibration.pit import PitRecalibration, least_for, pit_scores
from pnol_jax.calibration.protocol import Asked, Calibrator
from pnol_jax.calibration.ratio import LikelihoodRatio
from pnol_jax.calibration.regional import RegionScaling, regional_scores
from pnol_jax.calibration.scaling import LEAST, VarianceScaling, squared_scores
from pnol_jax.calibration.temperature import TemperatureScaling, temperature_scores
from pnol_jax.calibration.weighted import WeightedConformal
from pnol_jax.predictive import Predictive

Rows = NDArray[Any]  # (cases, numbers)
# A share of the deviation of the training cases' outputs: the least modulation of a band that follows the std.
FLOOR = 1e-3


class Recipe(NamedTuple):
    """`scores` is pure and gives (batch, numbers), a row a case; `fit` makes a calibrator of the rows of all cases."""

    scores: Callable[[Predictive, jax.Array, Asked], jax.Array]
    fit: Callable[[Rows], Calibrator]


class Known(NamedTuple):
    """What is known without the calibration cases.

    Level and kind of the band, the deviations of inputs and outputs over the training cases, (channels,), and for a
    weighted step the likelihood ratio of its inputs.
    """

    level: float
    kind: Kind
    inputs: Any
    outputs: Any
    ratio: LikelihoodRatio | None = None


def sets_band(step: config.Step) -> bool:
    """Whether a step draws a band, after which nothing may scale."""
    return isinstance(step, config.BandConfig | config.PitConfig)


def least(step: config.Step, level: float) -> int:
    """The fewest calibration cases that a step is tried with."""
    match step:
        case config.PitConfig():
            return least_for(level)
        case config.RiskControlConfig():
            return least_for_risk(1 - level, step.confidence)
        case config.GroupsConfig():
            return enough_for_groups(step.groups, level)
        case config.BandConfig():
            return least_cases(level)
        case _:
            return LEAST


def recipe(step: config.Step, known: Known) -> Recipe:
    """How a step is fitted."""
    return RECIPES[type(step)](step, known)


def _floor(step: config.BandConfig, known: Known) -> Any:
    return known.outputs * (1 if step.modulation == "unit" else FLOOR)


def _conformity(step: config.BandConfig, known: Known, kind: Kind) -> Callable[..., jax.Array]:
    floor = _floor(step, known)

    def scores(predictive: Predictive, truth: jax.Array, asked: Asked) -> jax.Array:
        weights = asked.grid.weights()
        return conformity_scores(predictive, truth, weights, kind, floor, step.modulation, known.level)

    return scores


def _variance(step: config.VarianceConfig, known: Known) -> Recipe:
    return Recipe(
        lambda predictive, truth, asked: squared_scores(predictive, truth, asked.grid.weights())[:, None],
        lambda rows: VarianceScaling.from_scores(rows[:, 0]),
    )


def _temperature(step: config.TemperatureConfig, known: Known) -> Recipe:
    objective, unit = step.objective, known.outputs
    return Recipe(
        lambda predictive, truth, asked: temperature_scores(predictive, truth, asked.grid.weights(), objective, unit),
        lambda rows: TemperatureScaling.from_scores(rows, objective),
    )


def _regions(step: config.RegionsConfig, known: Known) -> Recipe:
    return Recipe(
        lambda predictive, truth, asked: regional_scores(predictive, truth, asked.grid, step.cells),
        lambda rows: RegionScaling.from_scores(rows, step.cells),
    )


def _pit(step: config.PitConfig, known: Known) -> Recipe:
    return Recipe(
        lambda predictive, truth, asked: pit_scores(predictive, truth, asked.grid.weights()),
        lambda rows: PitRecalibration.from_scores(rows, known.level),
    )


def _conformal(step: config.ConformalConfig, known: Known) -> Recipe:
    arguments = (known.level, known.kind, _floor(step, known), step.modulation)
    return Recipe(_conformity(step, known, known.kind), lambda rows: SplitConformal.from_scores(rows, *arguments))


def _risk_control(step: config.RiskControlConfig, known: Known) -> Recipe:
    arguments = (known.level, known.kind, step.confidence, _floor(step, known), step.modulation)
    return Recipe(_conformity(step, known, known.kind), lambda rows: RiskControl.from_scores(rows, *arguments))


def _groups(step: config.GroupsConfig, known: Known) -> Recipe:
    conformity, unit = _conformity(step, known, known.kind), known.outputs if step.by == "spread" else known.inputs
    options: dict[str, Any] = {"by": step.by, "unit": unit, "floor": _floor(step, known), "modulation": step.modulation}

    def scores(predictive: Predictive, truth: jax.Array, asked: Asked) -> jax.Array:
        variable = group_variable(predictive, asked, step.by, unit)
        return jnp.concatenate([variable[:, None], conformity(predictive, truth, asked)], axis=1)

    def fit(rows: Rows) -> Calibrator:
        return GroupConformal.from_scores(rows[:, 1:], rows[:, 0], step.groups, known.level, known.kind, **options)

    return Recipe(scores, fit)


def _weighted(step: config.WeightedConfig, known: Known) -> Recipe:
    conformity, ratio = _conformity(step, known, known.kind), known.ratio
    assert ratio is not None
    options: dict[str, Any] = {"floor": _floor(step, known), "modulation": step.modulation}

    def scores(predictive: Predictive, truth: jax.Array, asked: Asked) -> jax.Array:
        return jnp.concatenate([ratio(asked)[:, None], conformity(predictive, truth, asked)], axis=1)

    def fit(rows: Rows) -> Calibrator:
        return WeightedConformal.from_scores(rows[:, 1:], rows[:, 0], known.level, known.kind, ratio, **options)

    return Recipe(scores, fit)


def _adaptive(step: config.AdaptiveConfig, known: Known) -> Recipe:
    arguments = (known.level, step.rate, _floor(step, known), step.modulation)
    return Recipe(
        _conformity(step, known, "simultaneous"), lambda rows: AdaptiveConformal.from_scores(rows, *arguments)
    )


def _ball(step: config.BallConfig, known: Known) -> Recipe:
    floor = _floor(step, known)

    def scores(predictive: Predictive, truth: jax.Array, asked: Asked) -> jax.Array:
        return ball_scores(predictive, truth, asked.grid.weights(), floor, step.modulation, known.level)

    return Recipe(scores, lambda rows: NormBall.from_scores(rows, known.level, step.outside, floor, step.modulation))


RECIPES: Mapping[type, Callable[[Any, Known], Recipe]] = {
    config.VarianceConfig: _variance,
    config.TemperatureConfig: _temperature,
    config.RegionsConfig: _regions,
    config.PitConfig: _pit,
    config.ConformalConfig: _conformal,
    config.RiskControlConfig: _risk_control,
    config.GroupsConfig: _groups,
    config.WeightedConfig: _weighted,
    config.AdaptiveConfig: _adaptive,
    config.BallConfig: _ball,
}
