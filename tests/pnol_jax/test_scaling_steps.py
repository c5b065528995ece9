"""Scaling of the predictive: optima, closed forms, the same regions on every grid, and refusals."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from pnol_jax import calibration, scores
from pnol_jax.bases import Basis, make_operands, stack_operands
from pnol_jax.calibration import (
    Asked,
    PitRecalibration,
    RegionScaling,
    TemperatureScaling,
    VarianceScaling,
)
from pnol_jax.errors import InputError
from pnol_jax.grids import Axis, Grid
from pnol_jax.predictive import Predictive

pytestmark = pytest.mark.usefixtures("x64")
CASES, POINTS = 400, 40
pit_scores, squared_scores = jax.jit(calibration.pit_scores), jax.jit(calibration.squared_scores)
temperature_scores = jax.jit(calibration.temperature_scores, static_argnums=3)
regional_scores = jax.jit(calibration.regional_scores, static_argnums=3)


def residuals(z: np.ndarray, seed: int = 0) -> tuple[Predictive, jax.Array, jax.Array]:
    """Cases whose standardised residuals are z, (cases, points): predictive, truth, weights."""
    rng = np.random.default_rng(seed)
    mean, std = rng.normal(size=z.shape), rng.uniform(0.5, 2, z.shape)
    half = jnp.asarray(std[..., None] ** 2 / 2)
    return (
        Predictive(jnp.asarray(mean[..., None]), half, half),
        jnp.asarray((mean + std * z)[..., None]),
        jnp.ones(z.shape[1]),
    )


def normal(seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(CASES, POINTS))


@pytest.mark.parametrize("objective", ["nll", "crps"])
def test_the_temperature_minimises_its_objective(objective: str) -> None:
    predictive, truth, weights = residuals(np.random.default_rng(0).standard_t(4, size=(CASES, POINTS)))
    best = TemperatureScaling.from_scores(temperature_scores(predictive, truth, weights, objective), objective)  # type: ignore[arg-type]
    measure = scores.gaussian_nll if objective == "nll" else scores.gaussian_crps

    def mean_score(temperature: jax.Array) -> jax.Array:
        return jnp.mean(measure(replace(best, temperature=temperature)(predictive), truth, weights))

    slope, curvature = jax.jit(lambda at: (jax.grad(mean_score)(at), jax.hessian(mean_score)(at)))(best.temperature)
    assert curvature > 0
    assert abs(slope / curvature) < 2e-4 * best.temperature  # the Newton step that is left


def test_the_likeliest_temperature_is_the_root_of_the_likeliest_factor() -> None:
    case = residuals(2.5 * normal())
    temperature = TemperatureScaling.from_scores(temperature_scores(*case, "nll"), "nll").temperature
    factor = VarianceScaling.from_scores(squared_scores(*case)).factor
    np.testing.assert_allclose(temperature**2, factor, rtol=1e-12)
    by_crps = TemperatureScaling.from_scores(temperature_scores(*case, "crps"), "crps").temperature
    assert abs(by_crps - 2.5) < 4 * 2.5 / np.sqrt(2 * CASES * POINTS)


def test_the_crps_is_moved_less_by_a_few_large_errors() -> None:
    spoiled = normal()
    spoiled[::50, 0] *= 100
    by_nll, by_crps = (
        float(TemperatureScaling.from_scores(temperature_scores(*residuals(spoiled), o), o).temperature)  # type: ignore[arg-type]
        for o in ("nll", "crps")
    )
    assert by_nll > 2
    assert by_crps < 1.05


def test_the_crps_by_channel_does_not_depend_on_units() -> None:
    predictive, truth, weights = residuals(1.7 * normal())
    units = jnp.asarray([1.0, 1e4])
    both = Predictive(
        *(
            jnp.concatenate([a, a * k], -1)
            for a, k in zip((predictive.mean, *(predictive.aleatoric,) * 2), (1e4, 1e8, 1e8), strict=True)
        )
    )
    rows = temperature_scores(both, jnp.concatenate([truth, truth * 1e4], -1), weights, "crps", units)
    np.testing.assert_allclose(rows, temperature_scores(predictive, truth, weights, "crps"), rtol=1e-9, atol=1e-12)


def regions(n: int, per_case: bool = False) -> tuple[Predictive, jax.Array, Asked]:
    """Residuals of standardised size 1, 2 on the halves of the first axis, times 1, 3 by channel, on n x 7 points."""
    grid = Grid((Axis.uniform(n, "bounded", 2.0, "centre"), Axis.uniform(7)))
    sign = np.where(np.random.default_rng(n).random((12, n, 7, 2)) < 0.5, -1.0, 1.0)
    size = np.where(grid.axes[0].points < 1, 1.0, 2.0)[:, None, None] * np.array([1.0, 3.0])
    truth = jnp.asarray(sign * size)
    bases = (Basis("padded", 3), Basis("fourier", 3))
    operands = make_operands(grid, bases, (n + 3, 8), "float64")
    if per_case:
        operands = stack_operands([operands] * 12)
    padded = jnp.pad(truth, ((0, 0), (0, 3), (0, 1), (0, 0)), constant_values=jnp.nan)
    ones = jnp.ones_like(padded) / 2
    return Predictive(jnp.zeros_like(padded), ones, ones), padded, Asked(padded[..., :1], operands)


@pytest.mark.parametrize("per_case", [False, True])
def test_each_region_and_channel_gets_its_own_factor_on_every_grid(per_case: bool) -> None:
    coarse, fine = regions(8, per_case), regions(20, per_case)
    rows = np.concatenate([regional_scores(p, u, asked.grid, (4, 2)) for p, u, asked in (coarse, fine)])
    scaling = RegionScaling.from_scores(rows, (4, 2))
    expected = np.array([1.0, 1.0, 4.0, 4.0])[:, None, None] * np.ones((1, 2, 1)) * np.array([1.0, 9.0])
    np.testing.assert_allclose(scaling.factors, expected, rtol=1e-12)
    for predictive, truth, asked in (coarse, fine):
        weights, scaled = asked.grid.weights(), jax.jit(scaling)(predictive, asked)
        np.testing.assert_allclose(squared_scores(scaled, truth, weights), 1, rtol=1e-12)


def test_one_region_is_the_likeliest_factor_of_all() -> None:
    predictive, truth, asked = regions(9)
    one = RegionScaling.from_scores(regional_scores(predictive, truth, asked.grid, (1, 1)), (1, 1)).factors
    each = squared_scores(predictive, truth, asked.grid.weights())
    np.testing.assert_allclose(one.mean(), VarianceScaling.from_scores(each).factor, rtol=1e-12)


def test_a_region_without_points_on_a_coarse_grid_is_measured_by_the_others() -> None:
    coarse, fine = regions(3), regions(16)
    rows = np.concatenate([regional_scores(p, u, asked.grid, (8, 1)) for p, u, asked in (coarse, fine)])
    np.testing.assert_allclose(RegionScaling.from_scores(rows, (8, 1)).factors[:, 0, 0], [1] * 4 + [4] * 4)
    with pytest.raises(InputError, match=r"got 0 cases, expected at least 10, with points in every region"):
        RegionScaling.from_scores(rows[:12], (8, 1))


def test_a_recalibrated_pit_is_uniform_whatever_the_errors_are() -> None:
    skewed = np.random.default_rng(0).exponential(size=(CASES, POINTS)) - 0.3
    predictive, truth, weights = residuals(skewed)
    found = PitRecalibration.from_scores(pit_scores(predictive, truth, weights), 0.8)
    fresh, outcome, _ = residuals(np.random.default_rng(1).exponential(size=(CASES, POINTS)) - 0.3, 1)
    calibrated = jax.jit(found)(fresh)
    error = 4 / np.sqrt(CASES * POINTS)
    low, high = calibrated.band
    assert abs(float(jnp.mean((low <= outcome) & (outcome <= high))) - 0.8) < error
    assert abs(float(jnp.mean(outcome < low)) - 0.1) < error
    assert abs(float(jnp.mean((outcome - calibrated.mean) / calibrated.std))) < 2 * error
    assert abs(float(jnp.mean(jnp.square(outcome - calibrated.mean) / calibrated.variance)) - 1) < 0.1


def test_recalibration_finds_a_shift_and_a_scale() -> None:
    predictive, truth, weights = residuals(0.7 * normal() + 0.4)
    found = PitRecalibration.from_scores(pit_scores(predictive, truth, weights), 0.9)
    np.testing.assert_allclose([found.shift, found.factor], [0.4, 0.49], atol=0.03)
    drawn = predictive.mean + predictive.std * jnp.asarray(np.random.default_rng(3).normal(size=(5, CASES, POINTS, 1)))
    moved = found(replace(predictive, samples=drawn, quantiles=drawn[:2], levels=(0.3, 0.6)))
    np.testing.assert_array_equal(moved.quantiles, moved.samples[:2])
    assert moved.samples is not None
    z = (moved.samples - predictive.mean) / predictive.std
    np.testing.assert_allclose([z.mean(), z.var()], [found.shift, found.factor], atol=0.02)
    assert bool(jnp.all(jnp.argsort(moved.samples, axis=0) == jnp.argsort(drawn, axis=0)))


def test_what_is_calibrated_stays_as_it_is() -> None:
    ideal = stats.norm.ppf((np.arange(CASES * POINTS) + 0.5) / (CASES * POINTS)).reshape(POINTS, CASES).T
    predictive, truth, weights = residuals(ideal)
    found = PitRecalibration.from_scores(pit_scores(predictive, truth, weights), 0.9)
    np.testing.assert_allclose([found.shift, found.factor], [0, 1], atol=2e-3)
    lower, upper = predictive.interval(0.9)
    np.testing.assert_allclose(found(predictive).band, (lower, upper), atol=4e-3 * float(predictive.std.max()))


def test_too_few_cases_and_what_is_no_number_are_refused() -> None:
    predictive, truth, weights = residuals(normal()[:9])
    with pytest.raises(InputError, match=r"got 9 cases, expected at least 10, below which a scale is off by more"):
        TemperatureScaling.from_scores(temperature_scores(predictive, truth, weights, "nll"), "nll")
    with pytest.raises(InputError, match=r"got 9 cases, expected at least 20, so that two can lie outside"):
        PitRecalibration.from_scores(pit_scores(predictive, truth, weights), 0.9)
    with pytest.raises(InputError, match="case 4 has one that is not a number"):
        TemperatureScaling.from_scores(
            temperature_scores(predictive, truth.at[4, 1].set(jnp.nan), weights, "crps"), "crps"
        )
    far = residuals(1e3 * normal())
    with pytest.raises(InputError, match="got one larger than 1/64 to 64"):
        TemperatureScaling.from_scores(temperature_scores(*far, "crps"), "crps")
    with pytest.raises(InputError, match="what was asked too"):
        RegionScaling(jnp.ones((2, 1)), 10)(predictive)
