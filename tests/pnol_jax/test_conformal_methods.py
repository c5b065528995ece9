"""Bands and sets beside the split conformal one: each keeps the promise that it states, over many calibration sets."""

import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.special import ndtr
from scipy import stats

from pnol_jax import calibration, scores
from pnol_jax.bases import Basis, make_operands
from pnol_jax.calibration import (
    AdaptiveConformal,
    Asked,
    GroupConformal,
    LikelihoodRatio,
    NormBall,
    RiskControl,
    SplitConformal,
    WeightedConformal,
    group_variable,
)
from pnol_jax.calibration.bounds import binomial_p_value, hoeffding_bentkus_p_value, least_for_risk
from pnol_jax.calibration.conformity import QUANTILES
from pnol_jax.calibration.groups import least_in_groups
from pnol_jax.calibration.modulation import MODULATIONS, ModulationKind
from pnol_jax.errors import InputError
from pnol_jax.features import SpectralFeatures
from pnol_jax.grids import Axis, Grid
from pnol_jax.predictive import Predictive

GRID = Grid((Axis.uniform(24),))
OPERANDS = make_operands(GRID, (Basis("fourier", 8),), None, "float64")
WEIGHTS = jnp.asarray(GRID.weights())
conformity_scores = jax.jit(calibration.conformity_scores, static_argnums=(3,), static_argnames=("modulation", "level"))
ball_scores = jax.jit(calibration.ball_scores, static_argnames=("modulation",))
pytestmark = pytest.mark.usefixtures("x64")


def waves(rng: np.random.Generator, cases: int) -> np.ndarray:
    """Heavy-tailed sums of three waves, (cases, points, 1)."""
    functions = np.sin(2 * np.pi * np.outer(np.arange(3), GRID.axes[0].points) + np.arange(3)[:, None] + 1)
    return (rng.standard_t(4, size=(cases, 3)) @ functions)[..., None]


def cases(number: int, seed: int = 0) -> tuple[Predictive, jax.Array]:
    """Cases with a wrong and uneven standard deviation, and skewed samples around a wrong mean."""
    rng = np.random.default_rng(seed)
    std = np.exp(0.3 * rng.normal(size=(number, 1, 1))) * (1.2 + np.cos(2 * np.pi * GRID.axes[0].points))[:, None]
    samples = std * (rng.exponential(size=(9, number, 24, 1)) - 1)
    half = jnp.asarray(std**2 / 2)
    return Predictive(jnp.zeros((number, 24, 1)), half, half, jnp.asarray(samples)), jnp.asarray(waves(rng, number))


def split_law(inside: np.ndarray, pool: int, held: int, level: float) -> None:
    """The number inside among the rest of a pool, over random splits, is beta-binomial."""
    rank = math.ceil(round((held + 1) * level, 9))
    law = stats.betabinom(pool - held, rank, held + 1 - rank)
    assert abs(inside.mean() - law.mean()) < 4 * law.std() / np.sqrt(len(inside))
    low, high = law.ppf([0.0005, 0.9995])
    assert np.mean((low <= inside) & (inside <= high)) > 0.995


@pytest.mark.parametrize("modulation", MODULATIONS)
def test_simultaneous_coverage_of_fields_over_random_splits_has_its_exact_law(modulation: ModulationKind) -> None:
    pool, held, level = 160, 39, 0.9
    predictive, truth = cases(pool)
    rows = np.asarray(conformity_scores(predictive, truth, WEIGHTS, "simultaneous", 0.3, modulation=modulation))
    rng, inside = np.random.default_rng(1), []
    for _ in range(1000):
        order = rng.permutation(pool)
        band = SplitConformal.from_scores(rows[order[:held]], level, "simultaneous", 0.3, modulation)
        inside.append(np.sum(rows[order[held:]] <= float(band.factor)))
    split_law(np.array(inside), pool, held, level)
    band = replace(band, factor=band.factor * (1 + 1e-12))
    whole = scores.simultaneous_coverage(band(predictive).band, truth, WEIGHTS)
    np.testing.assert_array_equal(whole, rows[:, 0] <= band.factor)


def test_absolute_residuals_give_a_band_of_one_width_and_quantiles_a_lopsided_one() -> None:
    predictive, truth = cases(60)
    for modulation in ("unit", "quantile"):
        rows = conformity_scores(predictive, truth, WEIGHTS, "simultaneous", 0.5, modulation=modulation)
        lower, upper = SplitConformal.from_scores(rows, 0.9, "simultaneous", 0.5, modulation)(predictive).band  # type: ignore[arg-type]
        if modulation == "unit":
            np.testing.assert_allclose(upper - lower, (upper - lower)[0, 0, 0], rtol=1e-12)
        else:  # the samples' skew, around their median
            above, below = upper - predictive.quantile(0.5), predictive.quantile(0.5) - lower
            assert float(jnp.mean(above)) > 1.5 * float(jnp.mean(below))


def test_bounds_are_those_of_the_binomial_distribution_and_of_the_paper() -> None:
    for k, n, share in [(0, 30, 0.1), (7, 60, 0.2), (59, 60, 0.9), (60, 60, 0.5)]:
        np.testing.assert_allclose(binomial_p_value(k, n, share), stats.binom.cdf(k, n, share), rtol=1e-10)
    mean, n, risk = 0.03, 200, 0.1
    entropy = mean * math.log(mean / risk) + (1 - mean) * math.log((1 - mean) / (1 - risk))
    expected = min(math.exp(-n * entropy), math.e * stats.binom.cdf(6, n, risk))
    np.testing.assert_allclose(hoeffding_bentkus_p_value(mean * n, n, risk), expected, rtol=1e-10)
    assert hoeffding_bentkus_p_value(30, 200, 0.1) == 1
    assert least_for_risk(0.1, 0.9) == 22
    assert 0.9**22 <= 0.1 < 0.9**21


@pytest.mark.parametrize("kind", ["pointwise", "simultaneous"])
def test_the_risk_is_controlled_with_the_stated_confidence_and_not_more_than_it_must_be(kind: str) -> None:
    """A case whose ratio is one exponential number has the risk exp(-factor) exactly."""
    level, confidence, repeats, rng = 0.9, 0.8, 1000, np.random.default_rng(0)
    risks = []
    for _ in range(repeats):
        rows = np.repeat(rng.exponential(size=(60, 1)), QUANTILES[kind], axis=1)
        risks.append(math.exp(-float(RiskControl.from_scores(rows, level, kind, confidence).factor)))  # type: ignore[arg-type]
    failed = np.mean(np.array(risks) > 1 - level)
    assert failed <= 1 - confidence + 3 * np.sqrt(0.2 * 0.8 / repeats)
    if kind == "simultaneous":  # the binomial test is exact but for its steps
        law = stats.binom.cdf(np.arange(60), 60, 0.1)
        exact = law[law <= 1 - confidence].max()
        assert abs(failed - exact) < 4 * np.sqrt(exact / repeats)


def test_a_band_that_controls_the_share_outside_is_wider_the_surer_it_must_be() -> None:
    rows = np.asarray(conformity_scores(*cases(200), WEIGHTS, "pointwise"))
    on_average = SplitConformal.from_scores(rows, 0.9, "pointwise").factor
    surely = [RiskControl.from_scores(rows, 0.9, "pointwise", confidence).factor for confidence in (0.6, 0.9, 0.99)]
    assert on_average < surely[0] < surely[1] < surely[2]
    many, share = np.asarray(conformity_scores(*cases(300, 5), WEIGHTS, "pointwise")), float(surely[1])
    assert np.mean(many > share) < 0.11


def test_the_ball_has_its_exact_law_and_its_band_what_chebyshev_says() -> None:
    pool, held = 160, 39
    predictive, truth = cases(pool)
    rows = np.asarray(ball_scores(predictive, truth, WEIGHTS, 2.0))
    np.testing.assert_allclose(rows[:, 0], np.sqrt(np.square(truth).mean(axis=(1, 2))) / 2, rtol=1e-12)
    rng, inside = np.random.default_rng(1), []
    for _ in range(1000):
        order = rng.permutation(pool)
        ball = NormBall.from_scores(rows[order[:held]], 0.9, 0.2, 2.0)
        inside.append(np.sum(rows[order[held:]] <= float(ball.radius)))
    split_law(np.array(inside), pool, held, 0.9)
    held_in = ball.holds(predictive, truth, WEIGHTS)
    assert 0 < held_in.mean() < 1
    covered = scores.coverage(ball(predictive).band, truth, WEIGHTS)
    assert float(jnp.min(jnp.where(held_in > 0, covered, 1))) >= 0.8
    assert replace(ball, outside=None)(predictive) is predictive


def two_kinds(number: int, seed: int) -> tuple[Predictive, jax.Array, Asked]:
    """Half of the cases are said to be easy and are not; which, shows in the spread and in the input."""
    rng = np.random.default_rng(seed)
    hard = rng.random(number) < 0.5
    spread = np.where(hard, 1.0, 0.1)[:, None, None] * rng.uniform(0.9, 1.1, (number, 1, 1))
    truth = np.where(hard, 1.0, 0.6)[:, None, None] * waves(rng, number)
    variance = jnp.broadcast_to(jnp.asarray(spread**2), truth.shape)
    inputs = jnp.broadcast_to(jnp.asarray(5 * spread), truth.shape)
    return (
        Predictive(jnp.zeros(truth.shape), variance, jnp.zeros(truth.shape)),
        jnp.asarray(truth),
        Asked(inputs, OPERANDS),
    )


@pytest.mark.parametrize("by", ["spread", "input"])
def test_groups_keep_the_level_each_where_one_factor_does_not(by: str) -> None:
    level, whole, each = 0.8, [], []
    score = jax.jit(lambda p, u, a: (conformity_scores(p, u, WEIGHTS, "simultaneous"), group_variable(p, a, by, 1.0)))  # type: ignore[arg-type]
    for seed in range(60):
        rows, variable = map(np.asarray, score(*two_kinds(80, 2 * seed)))
        fresh = two_kinds(80, 2 * seed + 1)
        new, kind = (np.asarray(part) for part in score(*fresh))
        grouped = GroupConformal.from_scores(rows, variable, 2, level, "simultaneous", by=by)  # type: ignore[arg-type]
        upper = kind >= float(grouped.edges[0])
        factors = (
            np.asarray(grouped.factors)[upper.astype(int)],
            float(SplitConformal.from_scores(rows, level, "simultaneous").factor),
        )
        for factor, kept in zip(factors, (each, whole), strict=True):
            inside = new[:, 0] <= factor
            kept.append([inside[~upper].mean(), inside[upper].mean()])
    band = grouped(fresh[0], fresh[2]).band[1][:, 0, 0]
    np.testing.assert_allclose(band, factors[0] * fresh[0].std[:, 0, 0], rtol=1e-12)
    error = 3 * np.std(each, axis=0) / np.sqrt(60)
    assert np.all(np.mean(each, axis=0) > level - error)
    assert np.all(np.mean(each, axis=0) < level + 0.06)
    assert np.mean(whole, axis=0)[0] < level - 0.1


def test_groups_that_are_too_small_are_refused_by_the_number_that_is_needed() -> None:
    least = least_in_groups(3, 0.9)
    assert least == 36
    rows, rising = np.ones((least, 1)), np.tile(np.arange(3.0), least // 3)
    assert GroupConformal.from_scores(rows, rising, 3, 0.9, "simultaneous").cases == 9
    with pytest.raises(InputError, match=r"got 35 cases, expected about 72 for a level of 0.9 in 3 groups, each .* 9"):
        GroupConformal.from_scores(rows[1:], rising[1:], 3, 0.9, "simultaneous")
    with pytest.raises(InputError, match=r"the groups hold \["):
        GroupConformal.from_scores(rows, np.sort(rising), 3, 0.9, "simultaneous")


def test_equal_weights_are_no_weights() -> None:
    rows = np.asarray(conformity_scores(*cases(49), WEIGHTS, "simultaneous"))
    for weight in (1.0, 3.0):
        for level in (0.5, 0.9):
            band = WeightedConformal.from_scores(rows, np.full(49, weight), level, "simultaneous")
            plain = SplitConformal.from_scores(rows, level, "simultaneous").factor
            np.testing.assert_allclose(band.factor(jnp.full(2, weight)), plain, rtol=1e-12)


@pytest.mark.parametrize("kind", ["pointwise", "simultaneous"])
def test_weights_keep_the_level_under_a_shift_of_the_inputs(kind: str) -> None:
    """Inputs x from N(0, 1), then from N(1, 1): the ratio is exp(x - 1/2). The error grows with x."""
    level, repeats, held, rng = 0.9, 400, 150, np.random.default_rng(0)
    quantiles = QUANTILES[kind]
    weighted, plain = [], []
    for _ in range(repeats):
        x, y = rng.normal(size=held), rng.normal(size=200) + 1
        rows, new = (np.exp(z)[:, None] * np.abs(rng.normal(size=(len(z), 1))) for z in (x, y))
        rows = np.repeat(rows, quantiles, axis=1)
        ratio = [np.exp(z - 0.5) for z in (x, y)]
        band = WeightedConformal.from_scores(rows, ratio[0], level, kind)  # type: ignore[arg-type]
        weighted.append(np.mean(new[:, 0] <= np.asarray(band.factor(jnp.asarray(ratio[1])))))
        plain.append(np.mean(new[:, 0] <= float(SplitConformal.from_scores(rows, level, kind).factor)))  # type: ignore[arg-type]
    error = 3 * np.std(weighted) / np.sqrt(repeats)
    assert level - error < np.mean(weighted) < level + 0.05
    assert np.mean(plain) < level - 0.1


def test_too_few_cases_of_the_new_kind_are_refused() -> None:
    weights = np.ones(100)
    weights[:3] = 200.0
    with pytest.raises(InputError, match=r"got 100 cases, expected at least 223, .* since they count as 4\.0"):
        WeightedConformal.from_scores(np.ones((100, 1)), weights, 0.9, "simultaneous")
    band = WeightedConformal.from_scores(np.ones((100, 1)), np.ones(100), 0.9, "simultaneous")
    predictive = replace(cases(1)[0], samples=None)
    lower, upper = band(predictive, weight=jnp.full(1, 50.0)).band
    assert bool(jnp.all(jnp.isinf(upper) & jnp.isinf(lower)))
    with pytest.raises(InputError, match="got no weight"):
        band(predictive)


def test_a_classifier_finds_the_ratio_of_shifted_gaussians() -> None:
    features = SpectralFeatures.make((Basis("fourier", 8),), (1.0,), np.zeros(1), np.ones(1))
    rng = np.random.default_rng(0)
    old, new = rng.normal(size=(20_000, features.width)), rng.normal(size=(5_000, features.width))
    new[:, 1] += 1
    ratio = LikelihoodRatio.fit(features, old, new)
    fresh = rng.normal(size=(50, features.width))
    np.testing.assert_allclose(np.log(ratio.of(jnp.asarray(fresh))), fresh[:, 1] - 0.5, atol=0.25)
    np.testing.assert_allclose(np.mean(ratio.of(jnp.asarray(old))), 1, atol=0.05)


@pytest.mark.parametrize("world", ["calm", "shifting", "hostile"])
def test_adaptive_bands_keep_the_level_on_any_trajectory(world: str) -> None:
    level, rate, steps, batch = 0.9, 0.05, 400, 6
    rng = np.random.default_rng(0)
    band = AdaptiveConformal.from_scores(rng.exponential(size=(59, 1)), level, rate)
    truth = rng.exponential(size=(steps, batch, 24, 1)).max(axis=2, keepdims=True)
    if world == "shifting":
        truth *= np.linspace(1, 30, steps)[:, None, None, None]
    if world == "hostile":  # never inside, then always
        truth = np.where(np.arange(steps)[:, None, None, None] < steps // 2, 1e30, 0.0) * np.ones_like(truth)
    truth = np.broadcast_to(truth, (steps, batch, 24, 1))
    ones = jnp.ones((steps, batch, 24, 1))
    _, inside = jax.jit(band.follow)(Predictive(0 * ones, ones, 0 * ones), jnp.asarray(truth), WEIGHTS)
    bound = (max(level, 1 - level) + rate) / (steps * rate)
    assert np.all(np.abs(1 - np.asarray(inside).mean(axis=0) - (1 - level)) <= bound + 1e-12)


@pytest.mark.parametrize("number", [39, 42])  # at 42 no level is a whole number of cases
def test_an_adaptive_band_begins_as_the_split_conformal_one(number: int) -> None:
    predictive, truth = cases(number)
    rows = conformity_scores(predictive, truth, WEIGHTS, "simultaneous", 0.2)
    for level in (0.5, 0.9, 0.975):
        adaptive = AdaptiveConformal.from_scores(rows, level, 0.1, 0.2)
        split = SplitConformal.from_scores(rows, level, "simultaneous", 0.2)
        np.testing.assert_allclose(adaptive(predictive).band, split(predictive).band, rtol=1e-12)


def test_a_gaussian_that_is_right_needs_no_more_than_its_own_quantile() -> None:
    """One point a case, so that the exact factor is known: the quantile of |z|."""
    z = np.random.default_rng(0).normal(size=(4000, 1))
    factor = SplitConformal.from_scores(np.abs(z), 0.9, "simultaneous").factor
    assert abs(float(2 * ndtr(factor) - 1) - 0.9) < 4 * np.sqrt(0.09 / 4000)
