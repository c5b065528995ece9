"""Distributions given by quantiles: exact where they are Gaussian, against integration where not, and trained."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.scipy.special import ndtr, ndtri
from scipy.integrate import quad

from pnol_jax import quantiles, scores
from pnol_jax.calibration import VarianceScaling
from pnol_jax.errors import InputError
from pnol_jax.posterior_config import NoiseConfig, QuantileConfig
from pnol_jax.posteriors import Batch
from pnol_jax.posteriors.quantile import Quantile
from pnol_jax.predictive import Predictive
from tests.linear import Pointwise, constants, field, operands, problem

LEVELS = (0.05, 0.25, 0.5, 0.8, 0.9)
SKEWED = np.array([-1.0, -0.9, 0.2, 0.5, 3.0])
N = 6


def test_of_a_gaussians_quantiles_it_is_that_gaussian(x64: None) -> None:
    mean, std, truth = field(2, N, 1), jnp.exp(field(2, N, 1, seed=1)), field(2, N, 1, seed=2)
    given = jnp.stack([mean + std * z for z in quantiles.normal_scores(LEVELS)])
    found = quantiles.mean_and_variance(LEVELS, given)
    np.testing.assert_allclose(found[0], mean, atol=1e-12)
    np.testing.assert_allclose(found[1], std**2, rtol=1e-12)
    gaussian = Predictive(mean, std**2, 0 * mean)
    stated = Predictive(*found, 0 * mean, quantiles=given, levels=LEVELS)
    for share in (0.001, 0.1, 0.5, 0.97):
        np.testing.assert_allclose(stated.quantile(share), gaussian.quantile(share), atol=1e-11)
    weights = jnp.ones(N)
    np.testing.assert_allclose(scores.crps(stated, truth, weights), scores.crps(gaussian, truth, weights), rtol=1e-11)
    np.testing.assert_allclose(scores.pit(stated, truth), scores.pit(gaussian, truth), atol=1e-13)


@pytest.mark.parametrize("truth", [-3.0, -0.95, 0.3, 2.0, 7.0])
def test_moments_and_crps_are_the_integrals(x64: None, truth: float) -> None:
    given = jnp.asarray(SKEWED)

    def function(level: float) -> float:
        return float(quantiles.quantile(LEVELS, SKEWED, float(ndtri(level))))

    ends: dict[str, Any] = {"limit": 200, "points": LEVELS}
    mean, variance = quantiles.mean_and_variance(LEVELS, given)
    np.testing.assert_allclose(mean, quad(function, 0, 1, **ends)[0], rtol=1e-6)
    np.testing.assert_allclose(variance, quad(lambda a: (function(a) - float(mean)) ** 2, 0, 1, **ends)[0], rtol=1e-5)
    level = float(ndtr(quantiles.score(LEVELS, given, jnp.asarray(truth))))
    pinball = quad(
        lambda a: 2 * ((truth <= function(a)) - a) * (function(a) - truth), 0, 1, limit=200, points=[*LEVELS, level]
    )
    np.testing.assert_allclose(quantiles.crps(LEVELS, given, jnp.asarray(truth)), pinball[0], rtol=1e-5)


def test_the_score_is_the_inverse_of_the_quantile(x64: None) -> None:
    z = jnp.linspace(-4, 4, 41)
    values = quantiles.quantile(LEVELS, jnp.broadcast_to(jnp.asarray(SKEWED)[:, None], (5, 41)), z)
    again = quantiles.score(LEVELS, jnp.broadcast_to(jnp.asarray(SKEWED)[:, None], (5, 41)), values)
    np.testing.assert_allclose(again, z, atol=1e-10)
    for score, value in zip(quantiles.normal_scores(LEVELS), SKEWED, strict=True):
        np.testing.assert_allclose(quantiles.quantile(LEVELS, SKEWED, score), value, atol=1e-12)


def make(channels: int = 1, noise: NoiseConfig | None = None) -> tuple[Quantile, dict[str, jax.Array]]:
    config = QuantileConfig(levels=list(LEVELS), noise=noise or NoiseConfig())
    posterior = Quantile.build(config, problem(Pointwise, 1, channels))
    return posterior, posterior.initial(0) | constants(1, channels)


def test_quantiles_do_not_cross_and_are_what_the_predictive_answers(x64: None) -> None:
    posterior, params = make(2)
    params = {name: value if name.startswith("normaliser") else 5 * value for name, value in params.items()}
    found = posterior.predict(params, 10 * field(3, N, 1), operands(N), jax.random.key(0))
    assert found.quantiles is not None
    assert found.quantiles.shape == (len(LEVELS), 3, N, 2)
    assert bool(jnp.all(jnp.diff(found.quantiles, axis=0) > 0))
    np.testing.assert_allclose(found.quantile(jnp.asarray(LEVELS)), found.quantiles, rtol=1e-9, atol=1e-9)
    lower, _ = found.interval(0.9)
    np.testing.assert_allclose(lower, found.quantiles[0], rtol=1e-9, atol=1e-9)
    wider = VarianceScaling.from_scores([4.0])(found)
    np.testing.assert_allclose(wider.quantile(0.05) - found.mean, 2 * (lower - found.mean), rtol=1e-9, atol=1e-9)


@pytest.mark.slow
def test_the_pinball_loss_is_least_at_the_true_quantiles(x64: None) -> None:
    """Inputs are zero and outputs exponential: the biases are all there is to learn."""
    posterior, params = make()
    cases, points = 400, 64
    outputs = jnp.asarray(np.random.default_rng(0).exponential(size=(cases, points, 1)))
    batch, grid, key = Batch(jnp.zeros_like(outputs), outputs), operands(points), jax.random.key(0)
    optimizer, name = optax.adam(optax.cosine_decay_schedule(0.1, 400)), "operator.projection.bias"

    def step(state: Any, _: None) -> tuple[Any, None]:
        bias, moments = state
        slope = jax.grad(lambda bias: posterior.loss(params | {name: bias}, batch, grid, key)[0])(bias)
        updates, moments = optimizer.update(slope, moments)
        return (bias + updates, moments), None

    start = params[name]
    (bias, _), _ = jax.lax.scan(step, (start, optimizer.init(start)), None, length=400)
    found = posterior.quantiles(params | {name: bias}, batch.inputs[:1], grid)[:, 0, 0, 0]
    levels = np.asarray(LEVELS)
    error = np.sqrt(levels * (1 - levels) / outputs.size) / (1 - levels)  # over the density at the quantile
    np.testing.assert_array_less(np.abs(found + np.log1p(-levels)), 5 * error + 2e-3)


def test_samples_have_the_quantiles_and_the_ranks_of_a_random_field(x64: None) -> None:
    posterior, params = make(noise=NoiseConfig("correlated", length=100.0))  # so long that all points have one rank
    drawn = posterior.predict(params, field(1, N, 1), operands(N), jax.random.key(0), 4000)
    assert drawn.samples is not None
    assert drawn.quantiles is not None
    shares = (drawn.samples[None] < drawn.quantiles[:, None]).mean(axis=1)
    for level, share in zip(LEVELS, shares, strict=True):
        np.testing.assert_allclose(share, level, atol=5 * (level * (1 - level) / 4000) ** 0.5)
    ranks = quantiles.score(
        LEVELS, jnp.broadcast_to(drawn.quantiles[:, None], (5, *drawn.samples.shape)), drawn.samples
    )
    np.testing.assert_allclose(ranks, jnp.broadcast_to(ranks[:, :, :1], ranks.shape), atol=0.05)


@pytest.mark.parametrize("levels", [[0.1, 0.9], [0.5, 0.9], [0.9, 0.5, 0.1], [0.1, 0.5, 0.5, 0.9]])
def test_levels_without_a_median_inside_are_refused(levels: list[float]) -> None:
    with pytest.raises(
        InputError, match=r"posterior\.levels: got \[.*\], expected at least three that rise, 0\.5 among"
    ):
        Quantile.build(QuantileConfig(levels=levels), problem(Pointwise, 1, 1))


def test_quantiles_without_levels_are_refused() -> None:
    mean = jnp.zeros((1, N, 1))
    with pytest.raises(InputError, match="got quantiles without levels"):
        Predictive(mean, mean, mean, quantiles=jnp.zeros((3, 1, N, 1)))
