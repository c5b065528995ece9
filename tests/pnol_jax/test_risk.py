"""Functionals, extremes and thresholds: closed forms of Gaussian fields, the same on every grid, and refusals."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from pnol_jax import risk
from pnol_jax.bases import Basis, GridOperands, make_operands, stack_operands
from pnol_jax.errors import InputError
from pnol_jax.grids import Axis, Grid
from pnol_jax.predictive import Predictive
from pnol_jax.risk import Risk, from_functional, gaussian, linear_weights, true_value
from pnol_jax.risk import draws as of_draws

pytestmark = pytest.mark.usefixtures("x64")
BOX = ((0.25, 0.75), (0.0, 2.0))


def from_draws(risks: list[Risk], predictive: Predictive, grid: GridOperands) -> dict[str, jax.Array]:
    return jax.jit(lambda p, g: risk.from_draws(risks, p, g))(predictive, grid)


def from_marginals(risks: list[Risk], predictive: Predictive, grid: GridOperands) -> dict[str, jax.Array]:
    return jax.jit(lambda p, g: risk.from_marginals(risks, p, g))(predictive, grid)


def operands(n: int, bucket: tuple[int, int] | None = None) -> GridOperands:
    grid = Grid((Axis.uniform(n, "bounded", 3.0, "centre"), Axis.uniform(6)))
    return make_operands(grid, (Basis("cosine", 3), Basis("fourier", 2)), bucket, "float64")


def gaussian_field(draws: int) -> tuple[Predictive, np.ndarray, np.ndarray]:
    """Draws of a smooth Gaussian field on 8 x 6 points and two channels, with its mean and covariance of channel 1."""
    rng = np.random.default_rng(0)
    mean, root = rng.normal(size=(8 * 6 * 2)), rng.normal(size=(96, 5)) / 4 + np.eye(5)[0] / 2
    fields = mean + rng.normal(size=(draws, 1, 5)) @ root.T
    variance = jnp.asarray(np.square(root).sum(axis=1)).reshape(1, 8, 6, 2)
    predictive = Predictive(
        jnp.asarray(mean).reshape(1, 8, 6, 2), 0 * variance, variance, jnp.asarray(fields).reshape(draws, 1, 8, 6, 2)
    )
    return predictive, mean.reshape(-1, 2)[:, 1], (root @ root.T).reshape(48, 2, 48, 2)[:, 1, :, 1]


def test_closed_forms_of_the_normal_distribution() -> None:
    law = stats.norm(0.3, 1.7)
    mean, variance = jnp.asarray(0.3), jnp.asarray(1.7**2)
    np.testing.assert_allclose(gaussian.exceedance(mean, variance, 1.2), law.sf(1.2), rtol=1e-12)
    for level in (0.5, 0.9, 0.99):
        expected = law.expect(lambda x: x, lb=law.ppf(level)) / (1 - level)
        np.testing.assert_allclose(gaussian.tail_mean(mean, variance, level), expected, rtol=1e-8)
    certain = gaussian.exceedance(jnp.asarray([1.0, 2.0]), jnp.zeros(2), 1.5)
    np.testing.assert_array_equal(certain, [0, 1])


def test_tail_means_of_draws_take_the_last_one_in_part_and_tend_to_the_closed_form() -> None:
    values = jnp.asarray([3.0, 1.0, 2.0, 4.0])[:, None]
    np.testing.assert_allclose(of_draws.tail_mean(values, 0.75), [4.0])
    np.testing.assert_allclose(of_draws.tail_mean(values, 0.625), [(4 + 3 / 2) / 1.5])
    np.testing.assert_allclose(of_draws.exceedance(values, 2.0), [0.5])
    many = jnp.asarray(np.random.default_rng(0).normal(size=(100_000, 1)))
    expected = gaussian.tail_mean(jnp.zeros(1), jnp.ones(1), 0.9)
    np.testing.assert_allclose(of_draws.tail_mean(many, 0.9), expected, atol=4 * 2 / np.sqrt(100_000 * 0.1))
    with pytest.raises(InputError, match=r"got 4 draws, expected at least 10 for a tail at 0\.9"):
        of_draws.tail_mean(values, 0.9)


def test_a_functional_of_draws_has_the_moments_that_the_covariance_gives() -> None:
    draws = 20_000
    predictive, mean, covariance = gaussian_field(draws)
    asked = Risk("flux", 1, BOX, threshold=0.1, level=0.8)
    found = from_draws([asked], predictive, operands(8))
    weights = np.where((np.arange(48) // 6 >= 2) & (np.arange(48) // 6 < 6), 1 / 24, 0)
    centre, variance = weights @ mean, weights @ covariance @ weights
    error = 4 * np.sqrt(variance / draws)
    assert set(found) == set(asked.names)
    assert abs(found["flux.mean"][0] - centre) < error
    np.testing.assert_allclose(found["flux.std"], np.sqrt(variance), rtol=4 / np.sqrt(2 * draws))
    assert abs(found["flux.exceedance"][0] - stats.norm.sf(0.1, centre, np.sqrt(variance))) < 4 * 0.5 / np.sqrt(draws)
    tail = gaussian.tail_mean(jnp.asarray(centre), jnp.asarray(variance), 0.8)
    assert abs(found["flux.tail"][0] - tail) < 3 * error
    alone = float(jnp.sum(predictive.variance[0, ..., 1].ravel() * weights**2))
    assert alone < variance / 5  # what the marginals, taken as independent, would say


def test_an_exact_functional_gives_the_closed_forms_and_follows_the_calibration() -> None:
    predictive, mean, covariance = gaussian_field(2)
    asked, grid = Risk("flux", 1, BOX, threshold=0.1), operands(8)
    weights = linear_weights([asked], grid, 2)
    quadrature = np.asarray(weights[0, ..., 1] * grid.weights()).ravel()
    centre, variance = quadrature @ mean, quadrature @ covariance @ quadrature
    moments = tuple(jnp.asarray([[value]]) for value in (centre, 0.25 * variance, 0.75 * variance))
    of = jax.jit(lambda after: from_functional([asked], moments, weights, predictive, after, grid))  # type: ignore[arg-type]
    found = of(predictive)
    np.testing.assert_allclose(found["flux.std"], np.sqrt(variance), rtol=1e-12)
    np.testing.assert_allclose(found["flux.exceedance"], stats.norm.sf(0.1, centre, np.sqrt(variance)), rtol=1e-10)
    after = replace(predictive, mean=predictive.mean + 2, epistemic=9 * predictive.epistemic)
    moved = of(after)
    np.testing.assert_allclose(moved["flux.mean"], centre + 2, rtol=1e-12)
    np.testing.assert_allclose(moved["flux.std"], 3 * np.sqrt(variance), rtol=1e-12)


def test_all_is_rarer_than_the_mean_is_rarer_than_any() -> None:
    predictive, _, _ = gaussian_field(2000)
    statistics = ("smallest", "mean", "largest")
    risks = [Risk(name, 1, BOX, name, threshold=0.0) for name in statistics]  # type: ignore[arg-type]
    found = from_draws(risks, predictive, operands(8))
    chances = [float(found[f"{name}.exceedance"][0]) for name in statistics]
    assert 0 <= chances[0] < chances[1] < chances[2] <= 1
    values = np.asarray(predictive.samples)[:, 0, 2:6, :, 1]
    assert chances[0] == pytest.approx(np.mean(np.all(values > 0, axis=(1, 2))))
    assert chances[2] == pytest.approx(np.mean(np.any(values > 0, axis=(1, 2))))


def test_the_share_above_a_threshold_follows_from_the_marginals() -> None:
    predictive, _, _ = gaussian_field(4000)
    asked = Risk("wet", 1, BOX, "share", threshold=0.2)
    by_draws, closed = (make([asked], predictive, operands(8)) for make in (from_draws, from_marginals))
    assert set(by_draws) == set(closed) == {"wet.mean"}
    assert abs(by_draws["wet.mean"][0] - closed["wet.mean"][0]) < 4 * 0.5 / np.sqrt(4000)


def test_stated_quantiles_are_the_distribution_at_each_point() -> None:
    predictive, _, _ = gaussian_field(2)
    levels, asked = (0.1, 0.5, 0.9), Risk("wet", 1, BOX, "share", threshold=0.2)
    z = jnp.asarray(stats.norm.ppf(levels)).reshape(3, 1, 1, 1, 1)
    stated = replace(predictive, quantiles=predictive.mean + predictive.std * z, levels=levels)
    wrong = replace(stated, aleatoric=100 * predictive.variance)  # the moments do not count
    for each in (stated, wrong):
        found = from_marginals([asked], each, operands(8))["wet.mean"]
        np.testing.assert_allclose(found, from_marginals([asked], predictive, operands(8))["wet.mean"], rtol=1e-10)


@pytest.mark.parametrize("statistic", ["mean", "largest", "smallest", "share"])
@pytest.mark.parametrize("box", [(), BOX])
def test_a_number_of_a_field_does_not_depend_on_padding_or_operands_per_case(statistic: Any, box: Any) -> None:
    asked = Risk("x", 0, box, statistic, threshold=0.1)
    field = jnp.asarray(np.random.default_rng(0).normal(size=(2, 8, 6, 1)))
    value = jax.jit(lambda u, g: true_value(asked, u, g))
    expected = value(field, operands(8))
    padded = jnp.pad(field, ((0, 0), (0, 3), (0, 2), (0, 0)), constant_values=jnp.nan)
    each = stack_operands([operands(8, (11, 8))] * 2)
    np.testing.assert_allclose(value(padded, each), expected, rtol=1e-12)
    values = np.asarray(field)[:, 2:6] if box else np.asarray(field)
    extremes = {"largest": values.max(axis=(1, 2)), "smallest": values.min(axis=(1, 2))}
    direct = extremes | {"mean": values, "share": values > 0.1}
    np.testing.assert_allclose(expected, direct[statistic].reshape(2, -1).mean(axis=1), rtol=1e-12)


def test_weights_of_a_mean_integrate_a_constant_to_itself_on_every_grid() -> None:
    for grid in (operands(8), operands(5), stack_operands([operands(8, (9, 6)), operands(7, (9, 6))])):
        weights = jax.jit(lambda grid: linear_weights([Risk("a", 1, BOX), Risk("b")], grid, 2))(grid)
        assert weights.shape == (2, *((2,) if grid.batched else ()), *grid.shape, 2)
        sums = jnp.sum(weights * jnp.asarray(grid.weights())[..., None], axis=(-3, -2))
        np.testing.assert_allclose(sums[0], jnp.broadcast_to(jnp.asarray([0.0, 1.0]), sums[0].shape), atol=1e-12)
        np.testing.assert_allclose(sums[1], jnp.broadcast_to(jnp.asarray([1.0, 0.0]), sums[1].shape), atol=1e-12)


def test_what_does_not_follow_is_refused() -> None:
    predictive, _, _ = gaussian_field(2)
    with pytest.raises(InputError, match=r"variances at each point, from which that of a mean over a region does not"):
        from_marginals([Risk("flux")], predictive, operands(8))
    with pytest.raises(InputError, match="expected draws of whole fields"):
        from_draws([Risk("flux")], replace(predictive, samples=None), operands(8))
    with pytest.raises(InputError, match="statistic = 'share' without a threshold"):
        Risk("wet", statistic="share")
    with pytest.raises(InputError, match="got 1 intervals, expected 2"):
        true_value(Risk("x", 0, ((0.0, 1.0),)), predictive.mean, operands(8))
