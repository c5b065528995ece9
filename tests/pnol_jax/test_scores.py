"""Scores against scoringrules, closed forms and exact expectations; what they must not depend on."""

import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scoringrules as sr
from scipy import special, stats

from pnol_jax import scores
from pnol_jax.errors import InputError
from pnol_jax.grids import Axis, Grid
from pnol_jax.predictive import Predictive

Score = Callable[[Predictive, jax.Array, jax.Array], jax.Array]
LEVELS = np.array([0.1, 0.5, 0.9])

SCORES: dict[str, Score] = {
    "relative_l2": scores.relative_l2,
    "crps": scores.crps,
    "gaussian_crps": scores.gaussian_crps,
    "energy_score": scores.energy_score,
    "gaussian_nll": scores.gaussian_nll,
    "coverage": lambda p, u, w: scores.coverage(p.interval(0.6), u, w),
    "simultaneous_coverage": lambda p, u, w: scores.simultaneous_coverage(p.interval(0.6), u, w),
    "interval_score": lambda p, u, w: scores.interval_score(p.interval(0.6), u, w, 0.6),
    "interval_width": lambda p, u, w: scores.interval_width(p.interval(0.6), w),
    "sharpness": lambda p, u, w: scores.sharpness(p, w),
    "rmse": scores.rmse,
    "spread": lambda p, u, w: scores.spread(p, w, members=5),
    "pit_distribution": lambda p, u, w: scores.pit_distribution(p, u, w, LEVELS),
    "reliability": lambda p, u, w: scores.reliability(p, u, w, LEVELS),
}


def case(seed: int = 0, m: int | None = 6, shape: tuple[int, ...] = (3, 8, 5, 2)) -> tuple[Predictive, jax.Array]:
    rng = np.random.default_rng(seed)
    mean, truth = rng.normal(size=shape), rng.normal(size=shape)
    samples = None if m is None else jnp.asarray(mean + rng.normal(size=(m, *shape)))
    aleatoric, epistemic = (jnp.asarray(rng.uniform(0.2, 1, shape)) for _ in range(2))
    return Predictive(jnp.asarray(mean), aleatoric, epistemic, samples), jnp.asarray(truth)


def uneven(shape: tuple[int, ...]) -> jax.Array:
    return jnp.asarray(np.random.default_rng(9).uniform(0.5, 2, shape))


def mean_over_points(values: np.ndarray, weights: jax.Array) -> np.ndarray:
    """(batch, *space, channels) -> (batch,)."""
    return np.average(values.mean(axis=-1).reshape(len(values), -1), axis=1, weights=np.ravel(weights))


def discrete(atoms: np.ndarray, m: int) -> np.ndarray:
    """All equally likely sets of m independent draws from the atoms: (m, sets, *atom)."""
    chosen = np.array(list(itertools.product(range(len(atoms)), repeat=m)))
    return np.moveaxis(atoms[chosen], 1, 0)


def of_samples(samples: np.ndarray) -> Predictive:
    mean = jnp.asarray(samples.mean(axis=0))
    return Predictive(mean, jnp.zeros_like(mean), jnp.ones_like(mean), samples=jnp.asarray(samples))


@pytest.mark.usefixtures("x64")
def test_gaussian_scores_equal_scoringrules() -> None:
    predictive, truth = case()
    weights, (mean, std) = uneven(truth.shape[1:-1]), (np.asarray(predictive.mean), np.asarray(predictive.std))
    for ours, theirs in ((scores.gaussian_crps, sr.crps_normal), (scores.gaussian_nll, sr.logs_normal)):
        expected = mean_over_points(theirs(np.asarray(truth), mean, std), weights)
        np.testing.assert_allclose(ours(predictive, truth, weights), expected, rtol=1e-10)


@pytest.mark.usefixtures("x64")
def test_crps_of_a_certain_prediction_is_the_absolute_error() -> None:
    predictive, truth = case(m=None)
    certain = Predictive(predictive.mean, *(jnp.zeros_like(truth),) * 2)
    truth = truth.at[0].set(certain.mean[0])
    expected = mean_over_points(np.abs(truth - certain.mean), jnp.ones((8, 5)))
    np.testing.assert_allclose(scores.crps(certain, truth, jnp.ones((8, 5))), expected, rtol=1e-13)


@pytest.mark.usefixtures("x64")
def test_sample_scores_equal_scoringrules() -> None:
    predictive, truth = case()
    weights = uneven(truth.shape[1:-1])
    y, x = np.asarray(truth), np.moveaxis(np.asarray(predictive.samples), 0, -1)
    expected = mean_over_points(sr.crps_ensemble(y, x, estimator="fair", backend="numpy"), weights)
    np.testing.assert_allclose(scores.crps(predictive, truth, weights), expected, rtol=1e-12)

    root = np.sqrt(np.asarray(weights)[..., None] / (weights.sum() * y.shape[-1]))
    flat = [(root * field).reshape(*field.shape[:-3], -1) for field in (y, np.moveaxis(x, -1, 1))]
    expected = sr.es_ensemble(*flat, estimator="fair", backend="numpy")
    np.testing.assert_allclose(scores.energy_score(predictive, truth, weights), expected, rtol=1e-12)


@pytest.mark.usefixtures("x64")
def test_interval_score_equals_scoringrules() -> None:
    predictive, truth = case()
    weights, (lower, upper) = uneven(truth.shape[1:-1]), predictive.interval(0.6)
    expected = mean_over_points(sr.interval_score(*map(np.asarray, (truth, lower, upper)), 0.4), weights)
    np.testing.assert_allclose(scores.interval_score((lower, upper), truth, weights, 0.6), expected, rtol=1e-12)


@pytest.mark.parametrize("m", [2, 3, 5])
@pytest.mark.usefixtures("x64")
def test_fair_scores_of_m_samples_have_the_expectation_of_the_whole_distribution(m: int) -> None:
    atoms = np.array([[[0.0], [1.0]], [[2.0], [-1.0]], [[0.5], [4.0]]])  # three fields of two points
    y, weights = np.array([[0.3], [1.5]]), np.array([1.0, 3.0])
    norm = np.sqrt([1 / 4, 3 / 4])[:, None]
    pairs = atoms[:, None] - atoms

    predictive = of_samples(discrete(atoms, m))
    truth = jnp.broadcast_to(jnp.asarray(y), predictive.mean.shape)
    crps = np.abs(atoms - y).mean(0) - np.abs(pairs).mean((0, 1)) / 2
    energy = np.linalg.norm(norm * (atoms - y), axis=1).mean() - np.linalg.norm(norm * pairs, axis=2).mean() / 2
    np.testing.assert_allclose(scores.crps(predictive, truth, weights).mean(), np.average(crps[:, 0], weights=weights))
    np.testing.assert_allclose(scores.energy_score(predictive, truth, weights).mean(), energy)


@pytest.mark.parametrize("m", [2, 3, 7])
@pytest.mark.usefixtures("x64")
def test_fair_crps_of_normal_samples_has_the_closed_form_as_its_mean(m: int) -> None:
    cases = 40_000
    samples = np.random.default_rng(m).normal(size=(m, cases, 1, 1))
    each = scores.crps(of_samples(samples), jnp.full((cases, 1, 1), 0.4), jnp.ones(1))
    error = abs(each.mean() - sr.crps_normal(0.4, 0.0, 1.0))
    assert error < 4 * each.std() / np.sqrt(cases)


@pytest.mark.parametrize("m", [2, 3, 7])
@pytest.mark.usefixtures("x64")
def test_fair_energy_score_of_normal_fields_has_the_closed_form_as_its_mean(m: int) -> None:
    """E||X|| of n independent normal values is sqrt(2) Gamma((n + 1) / 2) / Gamma(n / 2), and sqrt(2) as much apart."""
    cases, n = 20_000, 6
    samples = np.random.default_rng(m).normal(size=(m, cases, n, 1))
    each = scores.energy_score(of_samples(samples), jnp.zeros((cases, n, 1)), jnp.ones(n))
    length = np.sqrt(2) * np.exp(special.gammaln((n + 1) / 2) - special.gammaln(n / 2)) / np.sqrt(n)
    error = abs(each.mean() - (length - np.sqrt(2) * length / 2))
    assert error < 4 * each.std() / np.sqrt(cases)


@pytest.mark.usefixtures("x64")
def test_at_one_point_the_energy_score_is_the_crps() -> None:
    predictive, truth = case(shape=(4, 1, 1))
    one = jnp.ones(1)
    np.testing.assert_allclose(scores.energy_score(predictive, truth, one), scores.crps(predictive, truth, one))


@pytest.mark.parametrize("wrong", ["shifted", "narrow", "wide", "uncorrelated"])
def test_the_energy_score_prefers_the_true_distribution(wrong: str) -> None:
    rng, cases, m, n = np.random.default_rng(0), 3000, 8, 6
    factor = np.linalg.cholesky(0.9 ** np.abs(np.subtract.outer(np.arange(n), np.arange(n))))
    draw = {
        "true": lambda z: z @ factor.T,
        "shifted": lambda z: z @ factor.T + 0.3,
        "narrow": lambda z: 0.6 * z @ factor.T,
        "wide": lambda z: 1.6 * z @ factor.T,
        "uncorrelated": lambda z: z,
    }
    truth, noise = draw["true"](rng.normal(size=(cases, n))), rng.normal(size=(m, cases, n))

    def score(name: str) -> np.ndarray:
        samples = draw[name](noise)[..., None]
        return np.asarray(scores.energy_score(of_samples(samples), jnp.asarray(truth)[..., None], jnp.ones(n)))

    worse = score(wrong) - score("true")
    assert worse.mean() > 4 * worse.std() / np.sqrt(cases)


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.usefixtures("x64")
def test_padding_order_of_samples_and_compilation_change_nothing(name: str) -> None:
    predictive, truth = case()
    weights = uneven((3, 8, 5))
    expected = SCORES[name](predictive, truth, weights)  # not compiled
    assert expected.shape[0] == 3

    def padded(field: jax.Array, value: float) -> jax.Array:
        lead = ((0, 0),) * (field.ndim - 3)
        return jnp.asarray(np.pad(field, (*lead, (0, 3), (0, 4), (0, 0)), constant_values=value))

    assert predictive.samples is not None
    mixed = Predictive(predictive.mean, predictive.aleatoric, predictive.epistemic, predictive.samples[::-1])
    inside: Predictive = jax.tree.map(lambda leaf: padded(leaf, np.nan), mixed)
    measure = np.pad(weights, ((0, 0), (0, 3), (0, 4)))
    np.testing.assert_allclose(jax.jit(SCORES[name])(inside, padded(truth, 7.0), measure), expected, rtol=1e-12)


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.usefixtures("x64")
def test_a_case_scores_alike_on_n_and_on_2n_points(name: str) -> None:
    def score(n: int) -> np.ndarray:
        grid = Grid((Axis.uniform(n), Axis.uniform(n, kind="bounded", placement="centre")))
        x, y = np.meshgrid(*(2 * np.pi * axis.points for axis in grid.axes), indexing="ij")
        waves = np.stack([np.sin(x + k) * np.cos(y / 2 + k) + 0.2 * np.cos(2 * x - k) for k in range(6)])[..., None]
        mean = jnp.asarray(waves[:1] / 2)
        variance = jnp.asarray(0.1 + np.cos(x) ** 2)[None, ..., None]
        predictive = Predictive(mean, variance, variance / 2, samples=jnp.asarray(waves[1:, None]))
        return np.asarray(jax.jit(SCORES[name])(predictive, np.cos(x + y)[None, ..., None], grid.weights()))

    # The midpoint rule is of second order on smooth fields, of first order where a share jumps.
    steps = name in ("coverage", "pit_distribution", "reliability")
    np.testing.assert_allclose(score(64), score(128), rtol=2e-2 if steps else 2e-3, atol=2e-2 if steps else 0)


@pytest.mark.usefixtures("x64")
def test_relative_l2_is_by_channel_and_has_no_unit() -> None:
    predictive, truth = case()
    weights, units = uneven((8, 5)), jnp.asarray([1.0, 1e6])
    scaled = Predictive(predictive.mean * units, predictive.aleatoric, predictive.epistemic)
    expected = scores.relative_l2(predictive, truth, weights)
    np.testing.assert_allclose(scores.relative_l2(scaled, truth * units, weights), expected, rtol=1e-12)
    twice = Predictive(2 * truth, truth, truth)
    np.testing.assert_allclose(scores.relative_l2(twice, truth, weights), 1, rtol=1e-12)


def normal_domain(n: int) -> tuple[Predictive, jax.Array]:
    """A standard normal predictive, and a truth that takes the middle of each n-th of it once."""
    truth = jnp.asarray(stats.norm.ppf((np.arange(n) + 0.5) / n))[None, :, None]
    return Predictive(jnp.zeros_like(truth), jnp.full_like(truth, 0.75), jnp.full_like(truth, 0.25)), truth


@pytest.mark.usefixtures("x64")
def test_a_truth_drawn_from_the_gaussian_is_covered_and_ranked_as_stated() -> None:
    predictive, truth = normal_domain(1000)
    ones, levels = jnp.ones(1000), np.array([0.2, 0.5, 0.9])
    np.testing.assert_allclose(scores.pit(predictive, truth)[0, :, 0], (np.arange(1000) + 0.5) / 1000, rtol=1e-9)
    np.testing.assert_allclose(scores.reliability(predictive, truth, ones, levels)[0], levels, atol=1e-12)
    np.testing.assert_allclose(scores.coverage(predictive.interval(0.9), truth, ones), 0.9, atol=1e-12)
    assert scores.simultaneous_coverage(predictive.interval(0.9), truth, ones) == 0
    np.testing.assert_allclose(scores.pit_distribution(predictive, truth, ones, np.array([0.0, 1.0]))[0], [0, 1])


@pytest.mark.usefixtures("x64")
def test_a_truth_of_any_rank_among_samples_leaves_the_pit_uniform() -> None:
    samples = np.broadcast_to(np.arange(4.0)[:, None, None, None], (4, 1, 5, 1))
    truth = jnp.asarray(np.arange(5.0) - 0.5)[None, :, None]
    at = np.linspace(0, 1, 31)
    np.testing.assert_allclose(scores.pit_distribution(of_samples(samples), truth, jnp.ones(5), at)[0], at, atol=1e-12)
    np.testing.assert_allclose(scores.pit(of_samples(samples), truth)[0, :, 0], [0.1, 0.3, 0.5, 0.7, 0.9])


@pytest.mark.usefixtures("x64")
def test_simultaneous_coverage_asks_for_every_point_and_channel() -> None:
    truth = case(m=None)[1]
    weights, (lower, upper) = uneven((8, 5)), (truth - 1, truth + 1)
    assert np.all(scores.simultaneous_coverage((lower, upper), truth, weights) == 1)
    pierced = lower.at[1, 3, 2, 1].add(1.5)
    np.testing.assert_array_equal(scores.simultaneous_coverage((pierced, upper), truth, weights), [1, 0, 1])
    np.testing.assert_array_equal(
        scores.simultaneous_coverage((pierced, upper), truth, weights.at[3, 2].set(0)), [1, 1, 1]
    )


@pytest.mark.parametrize("members", [2, 3, 8])
def test_the_spread_of_a_small_ensemble_matches_its_error(members: int) -> None:
    rng, cases = np.random.default_rng(members), 40_000
    fields = rng.normal(size=(members + 1, cases, 1, 1))
    noise = rng.normal(size=(cases, 1, 1), scale=2)
    mean, variance = fields[1:].mean(axis=0), fields[1:].var(axis=0, ddof=1)
    predictive = Predictive(jnp.asarray(mean), jnp.full((cases, 1, 1), 4.0), jnp.asarray(variance))
    skill = scores.rmse(predictive, jnp.asarray(fields[0] + noise), jnp.ones(1))
    ratio = scores.spread_skill(scores.spread(predictive, jnp.ones(1), members), skill)
    np.testing.assert_allclose(ratio, 1, atol=4 / np.sqrt(2 * cases))
    assert ratio > scores.spread_skill(scores.spread(predictive, jnp.ones(1)), skill)


def test_the_energy_score_has_a_gradient_where_two_samples_are_equal() -> None:
    predictive, truth = case()

    def loss(samples: jax.Array) -> jax.Array:
        drawn = Predictive(predictive.mean, predictive.aleatoric, predictive.epistemic, samples)
        return scores.energy_score(drawn, truth, jnp.ones((8, 5))).sum()

    assert predictive.samples is not None
    slope = jax.jit(jax.grad(loss))(predictive.samples.at[1].set(predictive.samples[0]))
    assert np.all(np.isfinite(slope))


@pytest.mark.parametrize("name", ["relative_l2", "crps", "gaussian_crps", "energy_score", "gaussian_nll", "rmse"])
def test_what_is_not_a_number_is_not_hidden(name: str) -> None:
    predictive, truth = case()
    broken: Predictive = jax.tree.map(lambda leaf: leaf.at[..., 2, 3, 1].set(jnp.nan), predictive)
    assert np.all(np.isnan(SCORES[name](broken, truth, jnp.ones((8, 5)))))
    empty = jnp.ones((3, 8, 5)).at[1].set(0)
    np.testing.assert_array_equal(np.isnan(SCORES[name](predictive, truth, empty)), [False, True, False])


def test_shapes_that_broadcasting_would_bring_together_are_refused() -> None:
    predictive, truth = case()
    with pytest.raises(InputError, match=r"truth: got shape \(3, 8, 5, 1\), expected \(3, 8, 5, 2\)"):
        scores.crps(predictive, truth[..., :1], jnp.ones((8, 5)))
    with pytest.raises(InputError, match=r"weights: got shape \(1, 5\), expected \(8, 5\) or, per case, \(3, 8, 5\)"):
        scores.relative_l2(predictive, truth, jnp.ones((1, 5)))
    with pytest.raises(InputError, match="samples: got 1, expected at least 2"):
        scores.energy_score(case(m=1)[0], truth, jnp.ones((8, 5)))
    with pytest.raises(InputError, match="members: got 1"):
        scores.spread(predictive, jnp.ones((8, 5)), members=1)
