"""Training by scores of draws: unbiased, and against closed forms for Gaussian fields."""

from math import gamma
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pnol_jax.errors import InputError
from pnol_jax.posterior_config import DropConfig, NoiseConfig, PNOConfig
from pnol_jax.posteriors import Batch
from pnol_jax.posteriors.losses import relative_l2
from pnol_jax.posteriors.pno import PNO
from tests.linear import Pointwise, Spectral, close_in_mean, constants, field, operands, problem

N, BIAS = 5, 0.4


def make(config: PNOConfig, operator: Any = Pointwise) -> tuple[PNO, dict[str, jax.Array]]:
    posterior = PNO.build(config, problem(operator, 1, 1))
    return posterior, posterior.initial(0) | constants(1, 1)


def simple(config: PNOConfig) -> tuple[PNO, dict[str, jax.Array], float]:
    """Mean = inputs, one deviation everywhere."""
    posterior, params = make(config)
    params["operator.projection.kernel"] = jnp.array([[1.0, 0.0]])
    params["operator.projection.bias"] = jnp.array([0.0, BIAS])
    return posterior, params, float(np.sqrt(np.log1p(np.exp(BIAS)) + 1e-8))


def losses(posterior: PNO, params: Any, batch: Batch, count: int = 4000) -> Any:
    keys = jax.random.split(jax.random.key(0), count)
    return jax.jit(jax.vmap(lambda key: posterior.loss(params, batch, operands(N), key)[0]))(keys)


@pytest.mark.parametrize("draws", [2, 5])
def test_the_energy_score_is_unbiased_whatever_the_number_of_draws(x64: None, draws: int) -> None:
    """Of white noise of deviation s around the truth: E|x - y| - E|x - x'| / 2, where |x - x'| is sqrt(2) |x - y|."""
    posterior, params, deviation = simple(PNOConfig(draws=draws))
    inputs = field(2, N, 1)
    norm = deviation * np.sqrt(2) * gamma((N + 1) / 2) / gamma(N / 2) / np.sqrt(N)
    close_in_mean(losses(posterior, params, Batch(inputs, inputs)), norm * (1 - np.sqrt(0.5)))


def test_the_crps_of_draws_is_in_expectation_the_closed_form_that_is_trained_by(x64: None) -> None:
    """Draws that march: the first step of a trajectory is scored by them, a steady problem exactly."""
    posterior, params, _ = simple(PNOConfig(score="crps"))
    inputs, outputs = field(2, N, 1), field(2, N, 1, seed=1)
    exact = posterior.loss(params, Batch(inputs, outputs), operands(N), jax.random.key(0))[0]
    close_in_mean(losses(posterior, params, Batch(inputs, outputs[:, None])), float(exact))


def test_every_draw_marches_from_its_own_state(x64: None) -> None:
    """With u' = u + s e the score at step k is that of a deviation s sqrt(k), if the truth stands still."""
    posterior, params, deviation = simple(PNOConfig(draws=4))
    inputs, steps = field(1, N, 1), 3
    batch = Batch(inputs, jnp.broadcast_to(inputs[:, None], (1, steps, N, 1)))
    norm = deviation * np.sqrt(2) * gamma((N + 1) / 2) / gamma(N / 2) / np.sqrt(N) * (1 - np.sqrt(0.5))
    close_in_mean(losses(posterior, params, batch), norm * np.mean(np.sqrt(np.arange(1, steps + 1))))


def test_draws_that_all_are_the_mean_are_scored_by_its_error(x64: None) -> None:
    posterior, params = make(PNOConfig(variant="dropout", dropout=DropConfig(spectral=1e-9)), Spectral)
    inputs, outputs = field(1, N, 1), field(1, N, 1, seed=1)
    value, metrics = posterior.loss(params, Batch(inputs, outputs), operands(N), jax.random.key(0))
    mean = posterior.drawing.base.mean(params, inputs, operands(N))
    np.testing.assert_allclose(value, jnp.sqrt(jnp.mean((mean - outputs) ** 2)), rtol=1e-6)
    np.testing.assert_allclose(metrics["relative_l2"], relative_l2(mean, outputs, operands(N)), rtol=1e-6)


@pytest.mark.parametrize("kind", ["white", "correlated"])
def test_moments_are_closed_and_samples_have_them_and_the_correlation(x64: None, kind: Any) -> None:
    posterior, params, deviation = simple(PNOConfig(noise=NoiseConfig(kind, length=1.0)))
    inputs, count = field(1, N, 1), 4000
    drawn = posterior.predict(params, inputs, operands(N), jax.random.key(0), count)
    np.testing.assert_allclose(drawn.mean, inputs, atol=1e-12)
    np.testing.assert_allclose(drawn.aleatoric, deviation**2, rtol=1e-12)
    assert drawn.samples is not None
    apart = np.asarray(drawn.samples - drawn.mean)[:, 0, :, 0]
    covariance = apart.T @ apart / count
    np.testing.assert_allclose(np.diag(covariance), deviation**2, rtol=5 * (2 / count) ** 0.5)
    correlation = covariance[0, 1] / deviation**2
    assert abs(correlation) < 5 / count**0.5 if kind == "white" else correlation > 0.5


def test_passes_with_masks_give_moments_and_samples(x64: None) -> None:
    posterior, params = make(PNOConfig(variant="dropout", dropout=DropConfig(spectral=0.3), passes=2000), Spectral)
    inputs = field(1, N, 1)
    drawn = jax.jit(posterior.predict, static_argnums=4)(params, inputs, operands(N), jax.random.key(0), 2000)
    mean = posterior.drawing.base.mean(params, inputs, operands(N))
    np.testing.assert_array_less(np.abs(drawn.mean - mean), 5 * np.sqrt(drawn.aleatoric / 2000))
    np.testing.assert_allclose(drawn.samples.var(axis=0), drawn.aleatoric, rtol=0.2)


def test_what_cannot_work_is_refused() -> None:
    with pytest.raises(InputError, match="got a rate of 0 for modes and for channels"):
        make(PNOConfig(variant="dropout", dropout=DropConfig(spectral=0.0, channel=0.0)))
    with pytest.raises(
        InputError, match=r"training\.loss: got 'nll', but posterior\.name = 'pno' is trained by the energy"
    ):
        PNO.build(PNOConfig(), problem(Pointwise, 1, 1, loss="nll"))
