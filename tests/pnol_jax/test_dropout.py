"""Monte Carlo dropout on a linear map, where mean and variance of the passes are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pnol_jax.errors import InputError
from pnol_jax.posterior_config import DropConfig, DropoutConfig
from pnol_jax.posteriors import Batch, FitBatch
from pnol_jax.posteriors.dropout import Dropout
from tests.linear import Spectral, constants, field, operands, problem

N, WAVES, RATE, DRAWS = 7, 3, 0.3, 4000


def make(rates: DropConfig, draws: int = DRAWS) -> tuple[Dropout, dict[str, jax.Array]]:
    config = DropoutConfig(heteroscedastic=False, dropout=rates, draws=draws)
    posterior = Dropout.build(config, problem(Spectral, 2, 1))
    return posterior, posterior.initial(0) | constants(2, 1) | {"noise.variance": jnp.full(1, 0.25)}


def parts(posterior: Dropout, params: dict[str, jax.Array], inputs: jax.Array) -> jax.Array:
    """What each wave of each channel contributes to the outputs, (waves, channels, batch, n, 1)."""
    grid, base = operands(N), posterior.base
    constant = base.mean(params, jnp.zeros_like(inputs), grid)
    waves = jnp.fft.rfft(inputs, axis=1)
    found = []
    for wave in range(WAVES):
        for channel in range(2):
            alone = jnp.fft.irfft(jnp.zeros_like(waves).at[:, wave, channel].set(waves[:, wave, channel]), N, axis=1)
            found.append(base.mean(params, alone, grid) - constant)
    return jnp.stack(found).reshape(WAVES, 2, *found[0].shape)


@pytest.mark.parametrize("whole", [False, True])
def test_mean_and_variance_of_the_passes_are_the_closed_form(x64: None, whole: bool) -> None:
    posterior, params = make(DropConfig(spectral=RATE, whole_modes=whole))
    inputs = field(2, N, 2)
    each = parts(posterior, params, inputs)
    each = each.sum(axis=1) if whole else each.reshape(-1, *each.shape[2:])
    variance = RATE / (1 - RATE) * jnp.square(each).sum(axis=0)
    predictive = jax.jit(posterior.predict)(params, inputs, operands(N), jax.random.key(0))
    mean = posterior.base.mean(params, inputs, operands(N))
    np.testing.assert_array_less(np.abs(predictive.mean - mean), 5 * np.sqrt(variance / DRAWS))
    np.testing.assert_allclose(predictive.epistemic, variance, rtol=0.15)
    np.testing.assert_allclose(predictive.aleatoric, 0.25)


def test_samples_are_passes_with_noise_and_do_not_change_the_moments(x64: None) -> None:
    posterior, params = make(DropConfig(spectral=RATE), draws=8)
    inputs, grid, key = field(2, N, 2), operands(N), jax.random.key(0)
    alone = posterior.predict(params, inputs, grid, key)
    drawn = jax.jit(posterior.predict, static_argnums=4)(params, inputs, grid, key, DRAWS)
    np.testing.assert_allclose(drawn.mean, alone.mean, atol=1e-12)
    each = parts(posterior, params, inputs)
    variance = RATE / (1 - RATE) * jnp.square(each).sum(axis=(0, 1)) + 0.25
    np.testing.assert_allclose(drawn.samples.var(axis=0), variance, rtol=0.15)


def test_an_answer_does_not_depend_on_what_else_is_asked(x64: None) -> None:
    posterior, params = make(DropConfig(spectral=RATE), draws=4)
    inputs, key = field(3, N, 2), jax.random.key(0)
    together = posterior.predict(params, inputs, operands(N), key)
    last = posterior.predict(params, inputs[2:], operands(N), key)
    for name in ("mean", "epistemic"):
        np.testing.assert_allclose(getattr(together, name)[2:], getattr(last, name), atol=1e-13)


def test_noise_without_a_head_is_what_the_mean_over_the_passes_leaves_over(x64: None) -> None:
    posterior, params = make(DropConfig(spectral=RATE), draws=4)
    batch, grid = Batch(field(2, N, 2), field(2, N, 1, seed=1)), operands(N)
    fitted = posterior.fit(params, lambda: [FitBatch(batch, grid, jnp.ones(2))])
    mean = posterior.predict(fitted, batch.inputs, grid, jax.random.key(0)).mean
    np.testing.assert_allclose(fitted["noise.variance"], jnp.mean((mean - batch.outputs) ** 2), rtol=1e-6)


def test_dropping_nothing_is_refused() -> None:
    with pytest.raises(InputError, match=r"posterior\.dropout: got a rate of 0 for modes and for channels; then every"):
        make(DropConfig(spectral=0.0, channel=0.0))
