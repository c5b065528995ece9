"""Calibrators: their optimum, their guarantee over many splits, their refusals, and their way into an export."""

import json
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from scipy import stats

from pnol_jax import calibration, scores
from pnol_jax.calibration import SplitConformal, VarianceScaling, calibrator_from_dict, least_cases
from pnol_jax.calibration.conformity import QUANTILES, Kind
from pnol_jax.errors import InputError
from pnol_jax.grids import Axis, Grid
from pnol_jax.predictive import Predictive

KINDS: tuple[Kind, ...] = ("pointwise", "simultaneous")
conformity_scores = jax.jit(calibration.conformity_scores, static_argnames="kind")
squared_scores = jax.jit(calibration.squared_scores)
Cases = tuple[Predictive, jax.Array, jax.Array]  # predictive, truth, weights


def smooth_cases(n: int, cases: int, seed: int, roughness: int = 3) -> Cases:
    """Sums of waves with a wrong and uneven standard deviation, on n points: the same functions for every n."""
    rng = np.random.default_rng(seed)
    grid = Grid((Axis.uniform(n),))
    waves = np.sin(2 * np.pi * np.outer(np.arange(roughness), grid.axes[0].points) + np.arange(roughness)[:, None] + 1)
    truth = jnp.asarray(rng.standard_t(4, size=(cases, roughness)) @ waves)[..., None]
    scale = jnp.asarray(np.exp(rng.normal(size=(cases, 1)) * 0.3) * (1.2 + np.cos(2 * np.pi * grid.axes[0].points)))
    variance = jnp.square(scale)[..., None] / 2
    return Predictive(jnp.zeros_like(truth), variance, variance), truth, jnp.asarray(grid.weights())


def random_splits(rows: np.ndarray, held: int, level: float, kind: Kind, repeats: int) -> np.ndarray:
    """The share of the ratios inside, in all cases that were not drawn for calibration: (repeats,)."""
    rng = np.random.default_rng(1)
    shares = np.empty(repeats)
    for i in range(repeats):
        order = rng.permutation(len(rows))
        factor = SplitConformal.from_scores(rows[order[:held]], level, kind).factor
        shares[i] = np.mean(rows[order[held:]] <= float(factor))
    return shares


@pytest.mark.usefixtures("x64")
def test_variance_scaling_is_the_likeliest_factor() -> None:
    coarse, fine = smooth_cases(16, 40, 0), smooth_cases(48, 20, 1)
    rows = jnp.concatenate([squared_scores(*coarse), squared_scores(*fine)])
    best = VarianceScaling.from_scores(rows)

    def likelihood(factor: jax.Array) -> jax.Array:
        scaled = replace(best, factor=factor)
        return jnp.sum(jnp.concatenate([scores.gaussian_nll(scaled(p), u, w) for p, u, w in (coarse, fine)]))

    slope, curvature = jax.jit(lambda at: (jax.grad(likelihood)(at), jax.hessian(likelihood)(at)))(best.factor)
    assert abs(slope) < 1e-9
    assert curvature > 0
    np.testing.assert_allclose(squared_scores(best(coarse[0]), *coarse[1:]), rows[:40] / best.factor, rtol=1e-12)


@pytest.mark.usefixtures("x64")
def test_variance_scaling_keeps_the_mean_and_scales_samples_with_the_variances() -> None:
    samples = jnp.asarray(np.random.default_rng(0).normal(size=(9, 2, 5, 1)))
    mean, ones = samples.mean(axis=0), jnp.ones((2, 5, 1))
    before = Predictive(mean, ones, samples.var(axis=0), samples, mean - 1, mean + 1)
    after = VarianceScaling(jnp.asarray(4.0), cases=10)(before)
    assert after.samples is not None
    np.testing.assert_allclose(after.samples.mean(axis=0), before.mean, atol=1e-14)
    np.testing.assert_allclose(after.samples.var(axis=0), after.epistemic)
    np.testing.assert_allclose(after.variance, 4 * before.variance)
    np.testing.assert_array_equal(after.band, before.band)


@pytest.mark.usefixtures("x64")
def test_conformity_scores_are_quantiles_over_the_measure() -> None:
    rng = np.random.default_rng(0)
    truth, std = rng.normal(size=(2, 7, 3)), rng.uniform(0.5, 2, (2, 7, 3))
    weights = np.append(rng.uniform(0.5, 2, 5), [0, 0])
    truth[:, 5:] = 100  # padding
    predictive = Predictive(jnp.zeros((2, 7, 3)), jnp.asarray(std) ** 2, jnp.zeros((2, 7, 3)))
    ratio = np.abs(truth / std)[:, :5]
    pointwise = np.asarray(conformity_scores(predictive, jnp.asarray(truth), weights, "pointwise"))
    supremum = conformity_scores(predictive, jnp.asarray(truth), weights, "simultaneous")
    np.testing.assert_allclose(supremum, ratio.max(axis=(1, 2))[:, None])
    np.testing.assert_array_equal(pointwise[:, -1:], supremum)

    def measure(inside: np.ndarray) -> np.ndarray:
        return np.average(inside.mean(axis=2), axis=1, weights=weights[:5])

    rounded = np.asarray(jnp.abs(truth) / jnp.sqrt(predictive.variance))[:, :5]  # as the device rounds it
    np.testing.assert_allclose(rounded, ratio, rtol=1e-14)
    levels, each = np.arange(1, 1001) / 1000, rounded[..., None]
    assert np.all(measure(each <= pointwise[:, None, None]) >= levels - 1e-12)
    assert np.all(measure(each < pointwise[:, None, None]) < levels + 1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("level", [0.8, 0.9])
def test_coverage_over_random_splits_has_its_exact_law(kind: Kind, level: float) -> None:
    """A case whose ratio is one number is inside or outside as a whole: both kinds are then beta-binomial."""
    pool, held, repeats = 230, 49, 1000
    ratio = np.random.default_rng(0).exponential(size=pool)
    rows = np.repeat(ratio[:, None], QUANTILES[kind], axis=1)
    inside = np.rint(random_splits(rows, held, level, kind, repeats) * (pool - held))
    rank = round((held + 1) * level)
    law = stats.betabinom(pool - held, rank, held + 1 - rank)
    low, high = law.ppf([0.0005, 0.9995])
    assert abs(inside.mean() - law.mean()) < 4 * law.std() / np.sqrt(repeats)
    assert np.mean((low <= inside) & (inside <= high)) > 0.995
    counts = np.arange(pool)
    distance = np.abs(np.mean(inside[:, None] <= counts, axis=0) - law.cdf(counts)).max()
    assert distance < 1.95 / np.sqrt(repeats)  # Kolmogorov and Smirnov at 0.1%


@pytest.mark.parametrize("roughness", [1, 3, 20])
def test_pointwise_coverage_over_random_splits_is_at_least_the_level_and_tight(roughness: int) -> None:
    held, level, repeats = 24, 0.9, 1000
    rows = np.asarray(conformity_scores(*smooth_cases(64, 150, 0, roughness), "pointwise"))
    shares = random_splits(rows, held, level, "pointwise", repeats)
    error = 4 * shares.std() / np.sqrt(repeats)
    assert level - error < shares.mean() < level + 2 / (held + 1) + error


@pytest.mark.parametrize("kind", KINDS)
def test_the_guarantee_holds_with_several_grids_and_many_calibration_sets(kind: Kind) -> None:
    level, repeats, cases = 0.8, 300, 14
    measure = scores.coverage if kind == "pointwise" else scores.simultaneous_coverage
    share_inside = jax.jit(lambda band, p, u, w: measure(band(p).band, u, w)[-1])
    covered = []
    for seed in range(repeats):
        coarse, fine = smooth_cases(16, cases, 2 * seed), smooth_cases(40, cases, 2 * seed + 1)
        rows = np.concatenate([conformity_scores(*coarse, kind), conformity_scores(*fine, kind)])
        last = np.arange(len(rows)) % cases == cases - 1  # one new case of each grid
        band = SplitConformal.from_scores(rows[~last], level, kind)
        covered += [share_inside(band, *case) for case in (coarse, fine)]
    error = 3 * np.std(covered) / np.sqrt(2 * repeats)
    assert level - error < np.mean(covered) < level + 2 / (2 * cases - 1) + error


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("x64")
def test_the_band_covers_exactly_the_cases_whose_scores_are_within_the_factor(kind: Kind) -> None:
    predictive, truth, weights = smooth_cases(50, 60, 3)
    rows = np.asarray(conformity_scores(predictive, truth, weights, kind, floor=0.4))
    band = SplitConformal.from_scores(rows, 0.7, kind, floor=0.4)
    band = replace(band, factor=band.factor * (1 + 1e-12))
    lower, upper = band(predictive).band
    np.testing.assert_allclose(upper - lower, 2 * band.factor * np.maximum(predictive.std, 0.4))
    measure = scores.coverage if kind == "pointwise" else scores.simultaneous_coverage
    np.testing.assert_allclose(measure((lower, upper), truth, weights), np.mean(rows <= band.factor, axis=1), atol=1e-3)


@pytest.mark.usefixtures("x64")
def test_a_factor_fits_every_grid() -> None:
    (coarse, truth, weights), (fine, _, _) = smooth_cases(16, 30, 5), smooth_cases(32, 30, 5)
    band = SplitConformal.from_scores(conformity_scores(coarse, truth, weights, "simultaneous"), 0.9, "simultaneous")
    for at_coarse, at_fine in zip(band(coarse).band, band(fine).band, strict=True):
        np.testing.assert_allclose(at_fine[:, ::2], at_coarse, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("level", "least"), [(0.5, 1), (0.55, 2), (0.9, 9), (0.95, 19), (0.99, 99)])
def test_too_few_cases_are_refused_by_the_number_that_is_needed(kind: Kind, level: float, least: int) -> None:
    assert least_cases(level) == least
    rows = np.ones((least, QUANTILES[kind]))
    assert SplitConformal.from_scores(rows, level, kind).cases == least
    with pytest.raises(InputError, match=f"got {least - 1} cases, expected at least {least} for a level of {level}"):
        SplitConformal.from_scores(rows[1:], level, kind)


@pytest.mark.parametrize("level", [0.07, 0.29, 0.55, 0.57, 0.9, 0.95])
def test_the_rank_is_exact_where_binary_fractions_are_not(level: float) -> None:
    rows = np.arange(1.0, 100.0)[:, None]
    assert SplitConformal.from_scores(rows, level, "simultaneous").factor == round(100 * level)


def test_the_largest_level_named_is_one_that_is_accepted() -> None:
    with pytest.raises(InputError, match=r"8 are enough up to 0\.888$"):
        SplitConformal.from_scores(np.ones((8, 1)), 0.9, "simultaneous")
    assert least_cases(0.888) == 8


def test_a_floor_stands_in_for_a_missing_deviation() -> None:
    zeros, truth, ones = jnp.zeros((20, 6, 2)), jnp.ones((20, 6, 2)) * jnp.asarray([1.0, 100.0]), jnp.ones(6)
    certain = Predictive(zeros, zeros, zeros)
    with pytest.raises(InputError, match="infinite quantile, expected a positive std or a floor"):
        SplitConformal.from_scores(conformity_scores(certain, truth, ones, "simultaneous"), 0.9, "simultaneous")
    floor = jnp.asarray([0.5, 50.0])
    rows = conformity_scores(certain, truth, ones, "simultaneous", floor)
    _, upper = SplitConformal.from_scores(rows, 0.9, "simultaneous", floor)(certain).band
    np.testing.assert_allclose(upper, truth)
    exact = conformity_scores(certain, zeros, ones, "simultaneous")
    np.testing.assert_array_equal(exact, 0)


def test_scores_that_are_none_are_refused() -> None:
    predictive, truth, weights = smooth_cases(8, 20, 0)
    per_case = jnp.broadcast_to(weights, (20, 8)).at[3].set(0)
    for broken in (truth.at[3, 2].set(jnp.nan), truth):
        measure = weights if broken is not truth else per_case
        for kind in KINDS:
            with pytest.raises(InputError, match="case 3 "):
                SplitConformal.from_scores(conformity_scores(predictive, broken, measure, kind), 0.5, kind)
        with pytest.raises(InputError, match="mean of nan"):
            VarianceScaling.from_scores(squared_scores(predictive, broken, measure))
    with pytest.raises(InputError, match=r"got shape \(20, 1\), expected \(cases, 1000\) for 'pointwise'"):
        SplitConformal.from_scores(np.ones((20, 1)), 0.5, "pointwise")
    with pytest.raises(InputError, match=r"got a mean of 0\.0"):
        VarianceScaling.from_scores(np.zeros(3))


@pytest.mark.parametrize(
    "calibrator",
    [
        VarianceScaling(jnp.asarray(2.5), 40),
        SplitConformal(jnp.asarray(1.7), jnp.asarray([0.1]), 0.9, "simultaneous", 40),
    ],
    ids=["scaling", "conformal"],
)
def test_an_exported_program_takes_a_calibrator_as_weights(calibrator: VarianceScaling | SplitConformal) -> None:
    arrays, metadata = calibrator.to_dict()
    metadata = json.loads(json.dumps(metadata))
    predictive, _, _ = smooth_cases(8, 3, 0)

    def program(weights: dict[str, jax.Array], mean: jax.Array, variance: jax.Array) -> dict[str, jax.Array]:
        answer = calibrator_from_dict(weights, metadata)(Predictive(mean, variance, variance))
        return {name: leaf for name, leaf in vars(answer).items() if leaf is not None}

    fields = (predictive.mean, predictive.aleatoric)
    exported = export.export(jax.jit(program))(arrays, *fields)
    call = export.deserialize(exported.serialize()).call
    for factor in (1.0, 3.0):
        weights = {name: factor * leaf for name, leaf in arrays.items()}
        expected = calibrator_from_dict(weights, metadata)(Predictive(*fields, fields[1]))
        for name, leaf in call(weights, *fields).items():
            np.testing.assert_allclose(leaf, getattr(expected, name), rtol=1e-6, atol=1e-6)
    assert calibrator_from_dict(arrays, metadata).guarantee == metadata


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "magic"}, "method: got 'magic', expected one of variance_scaling, temperature_scaling"),
        ({"kind": "sideways"}, "kind: got 'sideways'"),
        ({"level": 1.2}, "level: got 1.2"),
        ({"level": "high"}, "level: got 'high'"),
        ({"cases": None}, "cases: got None"),
    ],
)
def test_plain_data_that_does_not_fit_is_refused(change: dict[str, Any], message: str) -> None:
    arrays, metadata = SplitConformal(jnp.asarray(1.7), jnp.asarray(0.0), 0.9, "pointwise", 40).to_dict()
    with pytest.raises(InputError, match=message):
        calibrator_from_dict(arrays, metadata | change)
    with pytest.raises(InputError, match=r"no array 'split_conformal\.floor'"):
        calibrator_from_dict({"split_conformal.factor": arrays["split_conformal.factor"]}, metadata)
