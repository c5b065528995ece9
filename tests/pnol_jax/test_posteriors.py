import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from pnol_jax.bases import Basis, make_operands, stack_operands
from pnol_jax.config import TrainingConfig
from pnol_jax.errors import InputError
from pnol_jax.grids import Axis, Grid
from pnol_jax.operators import build_operator, functional
from pnol_jax.optimizer_config import AdamWConfig
from pnol_jax.posterior_config import DeterministicConfig, EnsembleConfig
from pnol_jax.posteriors import Batch, FitBatch, build_posterior, trained
from pnol_jax.posteriors.losses import gaussian_nll, relative_h1, relative_l2
from pnol_jax.training.optimizers import make_optimizer
from pnol_jax.training.step import initial_state, make_step

BASES = (Basis("fourier", 6), Basis("fourier", 6))
CONSTANTS = {
    "normaliser.inputs.mean": jnp.array([0.3]),
    "normaliser.inputs.std": jnp.array([2.0]),
    "normaliser.outputs.mean": jnp.array([-1.0]),
    "normaliser.outputs.std": jnp.array([0.5]),
}


def _grid(n: int) -> Grid:
    return Grid((Axis.uniform(n), Axis.uniform(n)))


def _posterior(config, inputs: int = 1, **training):
    def build(channels: int, seed: int | None):
        return functional(build_operator("fno", inputs, channels, BASES, {"width": 4, "depth": 2}, nnx.Rngs(seed or 0)))

    return build_posterior(config, TrainingConfig(**training), build, 1)


def _batch(n: int = 10, cases: int = 3) -> Batch:
    rng = np.random.default_rng(0)
    draw = rng.standard_normal((2, cases, n, n, 1)).astype(np.float32)
    return Batch(jnp.asarray(draw[0]), jnp.asarray(draw[1]))


def _padded(field, n: int):
    return jnp.pad(field, [(0, 0), (0, n - field.shape[1]), (0, n - field.shape[2]), (0, 0)], constant_values=7.0)


@pytest.mark.parametrize("loss", ["relative_l2", "h1", "nll"])
def test_the_loss_does_not_see_padding(loss):
    posterior, batch, key = _posterior(DeterministicConfig(), loss=loss), _batch(), jax.random.key(0)
    params = posterior.initial(0) | CONSTANTS
    loss_of = jax.jit(posterior.loss)
    plain, _ = loss_of(params, batch, make_operands(_grid(10), BASES), key)
    bucket = stack_operands([make_operands(_grid(10), BASES, (13, 13))] * 3)
    padded, _ = loss_of(params, Batch(*(_padded(field, 13) for field in batch)), bucket, key)
    assert np.isclose(plain, padded, rtol=1e-5)


def test_an_ensemble_trains_each_member_as_it_would_be_trained_alone():
    members, steps = 3, 5
    ensemble = _posterior(EnsembleConfig(members=members))
    single = _posterior(DeterministicConfig())
    grid, batch = make_operands(_grid(10), BASES), _batch()

    def after(posterior, start):
        optimizer = make_optimizer(AdamWConfig(warmup_steps=1), steps, posterior.members)
        state = initial_state(posterior, optimizer, start, averaged=True)
        step = make_step(posterior, optimizer, 0.9)
        for _ in range(steps):
            state, _ = step(state, CONSTANTS, batch, grid)
        return state

    together = after(ensemble, 0)
    for member in range(members):
        alone = after(single, member)  # member i of seed 0 starts as seed i
        for name, value in alone.params.items():
            np.testing.assert_allclose(together.params[name][member], value, rtol=1e-4, atol=1e-6)
            np.testing.assert_allclose(together.average[name][member], alone.average[name], rtol=1e-4, atol=1e-6)


def test_the_ensembles_moments_are_those_of_the_mixture():
    ensemble, single = _posterior(EnsembleConfig(members=4)), _posterior(DeterministicConfig())
    grid, inputs, key = make_operands(_grid(10), BASES), _batch().inputs, jax.random.key(1)
    params, predict = ensemble.initial(0), jax.jit(single.predict)
    each = [
        predict({name: value[i] for name, value in params.items()} | CONSTANTS, inputs, grid, key) for i in range(4)
    ]
    means = np.stack([member.mean for member in each])
    predictive = jax.jit(ensemble.predict)(params | CONSTANTS, inputs, grid, key)
    np.testing.assert_allclose(predictive.mean, means.mean(0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(predictive.epistemic, means.var(0, ddof=1), rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(predictive.aleatoric, np.mean([m.aleatoric for m in each], 0), rtol=1e-4)


def test_draws_of_an_ensemble_have_its_mean_and_variance():
    ensemble = _posterior(EnsembleConfig(members=4))
    grid, inputs = make_operands(_grid(10), BASES), _batch(cases=1).inputs
    params = ensemble.initial(0) | CONSTANTS
    predict = jax.jit(functools.partial(ensemble.predict, num_samples=4000))
    predictive = predict(params, inputs, grid, jax.random.key(2))
    assert predictive.samples is not None
    # 4 members in equal shares: their variance in the mixture has divisor 4, not 3.
    variance = predictive.aleatoric + predictive.epistemic * 3 / 4
    error = jnp.abs(predictive.samples.mean(0) - predictive.mean) / jnp.sqrt(variance / 4000)
    assert float(error.max()) < 5
    np.testing.assert_allclose(predictive.samples.var(0), variance, rtol=0.15)


def test_a_homoscedastic_noise_is_the_variance_of_the_residuals():
    posterior = _posterior(DeterministicConfig(heteroscedastic=False))
    grid, batch = make_operands(_grid(10), BASES), _batch()
    params = posterior.initial(0) | CONSTANTS
    mask = jnp.array([1.0, 1.0, 0.0])
    fitted = posterior.fit(params, lambda: [FitBatch(batch, grid, mask)] * 2)
    predictive = posterior.predict(fitted, batch.inputs, grid, jax.random.key(0))
    squared = np.square(np.asarray(predictive.mean - batch.outputs))[:2].mean()
    np.testing.assert_allclose(predictive.aleatoric, squared, rtol=1e-4)


def test_unrolling_is_the_mean_loss_of_the_steps_taken_one_by_one():
    posterior = _posterior(DeterministicConfig(heteroscedastic=False))
    grid, key = make_operands(_grid(10), BASES), jax.random.key(0)
    params = posterior.initial(0) | CONSTANTS
    rng = np.random.default_rng(1)
    states = jnp.asarray(rng.standard_normal((2, 4, 10, 10, 1)), jnp.float32)
    total, _ = jax.jit(posterior.loss)(params, Batch(states[:, 0], states[:, 1:]), grid, key)
    state, expected, mean = states[:, 0], [], jax.jit(posterior.mean)
    for step in range(1, 4):
        state = mean(params, state, grid)
        expected.append(relative_l2(state, states[:, step], grid))
    assert np.isclose(total, np.mean(expected), rtol=1e-5)


def test_pushforward_keeps_the_value_and_cuts_the_gradient():
    grid, key = make_operands(_grid(10), BASES), jax.random.key(0)
    states = jnp.asarray(np.random.default_rng(1).standard_normal((2, 3, 10, 10, 1)), jnp.float32)
    batch = Batch(states[:, 0], states[:, 1:])
    values, gradients = [], []
    for pushforward in (False, True):
        posterior = _posterior(DeterministicConfig(heteroscedastic=False), pushforward=pushforward)
        params = posterior.initial(0) | CONSTANTS
        (value, _), gradient = jax.jit(jax.value_and_grad(posterior.loss, has_aux=True))(params, batch, grid, key)
        values.append(value)
        gradients.append(gradient["operator.projection.second.kernel"])
    assert np.isclose(*values)
    assert not np.allclose(*gradients)


def test_losses_of_known_fields(x64):
    grid = make_operands(_grid(16), (Basis("fourier", 8),) * 2, dtype="float64")
    x = np.arange(16) / 16
    wave = np.sin(2 * np.pi * x)[None, :, None, None] * np.ones((1, 16, 16, 1))
    truth, prediction = jnp.asarray(wave), jnp.asarray(1.1 * wave + 0.2)
    # ||0.1 s + 0.2||^2 = 0.01 / 2 + 0.04 and ||s||^2 = 1 / 2; each with (2 pi)^2 times the wave's part for the slope.
    assert np.isclose(relative_l2(prediction, truth, grid), np.sqrt(0.045 / 0.5))
    slope = (2 * np.pi) ** 2
    assert np.isclose(relative_h1(prediction, truth, grid), np.sqrt((0.045 + 0.005 * slope) / (0.5 + 0.5 * slope)))
    variance = jnp.full_like(truth, 0.5)
    expected = 0.5 * np.log(2 * np.pi * 0.5) + 0.5 * 0.045 / 0.5
    assert np.isclose(gaussian_nll(prediction, variance, truth, grid), expected)


def test_beta_weights_points_by_their_variance_and_leaves_the_mean_the_squared_error_at_one(x64):
    grid = make_operands(_grid(8), BASES, dtype="float64")
    mean, truth, variance = (
        jnp.asarray(np.random.default_rng(i).standard_normal((1, 8, 8, 1))) ** (1 + (i > 1)) for i in range(3)
    )
    pointwise = 0.5 * (np.log(2 * np.pi * variance) + (truth - mean) ** 2 / variance)
    half = gaussian_nll(mean, variance, truth, grid, 0.5)
    assert np.isclose(half, np.mean(np.sqrt(variance) * pointwise))
    slope = jax.grad(lambda mean: gaussian_nll(mean, variance, truth, grid, 1.0))(mean)
    np.testing.assert_allclose(slope, (mean - truth) / mean.size, atol=1e-14)


def test_what_a_posterior_cannot_do_is_refused():
    posterior = _posterior(DeterministicConfig())
    params = posterior.initial(0) | CONSTANTS
    with pytest.raises(InputError, match="a deterministic posterior has none"):
        posterior.predict(params, _batch().inputs, make_operands(_grid(10), BASES), jax.random.key(0), num_samples=2)
    with pytest.raises(InputError, match=r"'nll' needs posterior\.heteroscedastic"):
        _posterior(DeterministicConfig(heteroscedastic=False), loss="nll")
    with pytest.raises(InputError, match=r"posterior\.beta: got 0\.5 with training\.loss = 'relative_l2'"):
        _posterior(DeterministicConfig(beta=0.5))
    with pytest.raises(InputError, match="got 1, expected at least 2"):
        _posterior(EnsembleConfig(members=1))


def test_training_changes_the_operator_and_nothing_else():
    params = _posterior(DeterministicConfig()).initial(0) | CONSTANTS
    assert set(trained(params)) == set(params) - set(CONSTANTS)
