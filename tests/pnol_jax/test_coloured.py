"""Correlated noise and what it makes of a rollout, against closed forms in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pnol_jax.bases import Basis, make_operands, stack_operands
from pnol_jax.errors import InputError
from pnol_jax.grids import Axis, Grid
from pnol_jax.operators.transforms import project
from pnol_jax.posteriors import Batch, FitBatch
from pnol_jax.posteriors.coloured import FACTOR, LASTING, SPECTRUM, WHITE, Coloured, undisturbed
from pnol_jax.posteriors.deterministic import Deterministic
from pnol_jax.posteriors.march import march
from pnol_jax.posteriors.residuals import NOISE
from pnol_jax.predictive import Predictive

pytestmark = pytest.mark.usefixtures("x64")
BASES = (Basis("fourier", 6),)
HALF = 0.5


def _grid(n: int) -> Grid:
    return Grid((Axis.uniform(n, "periodic", 2.0),))


def _coloured() -> Coloured:
    """u -> u / 2, in normalised units as in physical ones."""
    return Coloured(
        Deterministic(lambda params, inputs, grid: HALF * inputs, lambda seed: {}, 1, heteroscedastic=False)
    )


def _params(**noise):
    names = ("inputs.mean", "inputs.std", "outputs.mean", "outputs.std")
    constants = {f"normaliser.{name}": jnp.full(1, float(name.endswith("std"))) for name in names}
    spectrum = jnp.asarray([1.0, 0.5, 0.25, 0.125, 0.0, 0.5, 0.25, 0.125])[:, None]
    default = {SPECTRUM: spectrum, WHITE: jnp.zeros(1), NOISE: jnp.full(1, 0.09), **undisturbed(jnp.zeros(()))}
    return constants | default | noise


def _predict(params, n: int = 12, cases: int = 2, draws: int = 0, bucket: int | None = None) -> Predictive:
    operands = make_operands(_grid(n), BASES, bucket and (bucket,), "float64")
    if bucket:
        operands = stack_operands([operands] * cases)
    inputs = jnp.ones((cases, bucket or n, 1))
    return _coloured().predict(params, inputs, operands, jax.random.key(3), draws)


def test_the_stated_variance_is_that_of_the_draws():
    predictive = _predict(_params(**{WHITE: jnp.full(1, 0.3), FACTOR: jnp.asarray(1.5)}), cases=1, draws=10000)
    exact = 1.5**2 * 0.09 * (1 + 4 * (0.5 + 0.25 + 0.125) + 0.3)  # (2 cos)^2 + (2 sin)^2 = 4
    np.testing.assert_allclose(predictive.aleatoric, exact)
    found = jnp.var(predictive.samples, axis=0)
    np.testing.assert_allclose(found, exact, rtol=6 * (2 / 10000) ** 0.5)


def test_the_draws_covariance_is_that_of_the_spectrum():
    params, n = _params(), 9
    draws = np.asarray(_predict(params, n=n, cases=1, draws=10000).samples)[:, 0, :, 0]
    synthesis = np.asarray(make_operands(_grid(n), BASES, None, "float64").axes[0].synthesis)
    exact = 0.09 * synthesis @ np.diag(np.asarray(params[SPECTRUM])[:, 0]) @ synthesis.T
    np.testing.assert_allclose(np.cov(draws.T), exact, atol=6 * exact[0, 0] / 10000**0.5)


def test_draws_are_the_same_functions_on_every_grid_and_under_padding():
    fine, coarse = (_predict(_params(), n=n, draws=3) for n in (24, 12))
    np.testing.assert_allclose(fine.samples[:, :, ::2], coarse.samples, atol=1e-12)
    padded = _predict(_params(), draws=3, bucket=17)
    np.testing.assert_allclose(padded.samples[:, :, :12], coarse.samples, atol=1e-12)
    np.testing.assert_allclose(padded.aleatoric[:, :12], coarse.aleatoric, atol=1e-12)


def test_fit_finds_the_noise_that_made_the_outputs():
    params, cases, n = _params(**{WHITE: jnp.full(1, 0.2)}), 2000, 15
    grid = make_operands(_grid(n), BASES, None, "float64")
    inputs = jax.random.normal(jax.random.key(0), (cases, n, 1))
    outputs = _coloured().advance(params, inputs[None], grid, jax.random.key(1), jax.random.key(2))[0]
    found = _coloured().fit(params, lambda: [FitBatch(Batch(inputs, outputs), grid, jnp.ones(cases))])
    total = 1 + 4 * (0.5 + 0.25 + 0.125) + 0.2  # the standard deviation that divides the residuals is fitted too
    white = 0.2 / n  # what white noise contributes to a coefficient, half of it to those of a doubled function
    expected = np.asarray(params[SPECTRUM])[:, 0] + white * np.asarray([1, 0.5, 0.5, 0.5, 0, 0.5, 0.5, 0.5])
    np.testing.assert_allclose(found[NOISE], 0.09 * total, rtol=0.03)
    np.testing.assert_allclose(found[SPECTRUM][:, 0] * total, expected, rtol=6 * (2 / cases) ** 0.5, atol=1e-20)
    np.testing.assert_allclose(found[WHITE] * total, 0.2 * (1 - 7 / n), rtol=0.05)


def test_cases_that_only_fill_a_batch_up_count_nothing():
    grid = make_operands(_grid(12), BASES, None, "float64")
    inputs, outputs = jax.random.normal(jax.random.key(0), (2, 5, 12, 1))
    few = FitBatch(Batch(inputs[:3], outputs[:3]), grid, jnp.ones(3))
    filled = FitBatch(Batch(inputs, outputs), grid, jnp.asarray([1.0, 1.0, 1.0, 0.0, 0.0]))
    expected, found = (_coloured().fit(_params(), lambda one=one: [one]) for one in (few, filled))
    for name in (NOISE, SPECTRUM, WHITE):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_variance_along_a_rollout_is_that_of_an_autoregression(share):
    params, draws, steps = _params(**{LASTING: jnp.asarray(share)}), 4000, 4
    grid = make_operands(_grid(8), BASES, None, "float64")
    states = march(_coloured(), params, jnp.ones((1, 8, 1)), grid, jax.random.key(0), steps, draws)
    assert states.shape == (steps, draws, 1, 8, 1)
    one = 0.09 * (1 + 4 * (0.5 + 0.25 + 0.125))
    weights = [HALF ** np.arange(step + 1) for step in range(steps)]
    exact = one * np.asarray([(1 - share) * np.sum(w**2) + share * np.sum(w) ** 2 for w in weights])
    np.testing.assert_allclose(jnp.var(states, axis=1).mean(axis=(1, 2, 3)), exact, rtol=0.05)
    np.testing.assert_allclose(jnp.mean(states, axis=1)[:, 0, 0, 0], HALF ** np.arange(1, 5), atol=0.06)


def test_without_noise_every_rollout_is_that_of_the_mean():
    grid = make_operands(_grid(8), BASES, None, "float64")
    first = jax.random.normal(jax.random.key(0), (2, 8, 1))
    states = march(_coloured(), _params(**{FACTOR: jnp.zeros(())}), first, grid, jax.random.key(0), 3, 2)
    for step in range(3):
        np.testing.assert_allclose(states[step], np.broadcast_to(HALF ** (step + 1) * first, (2, 2, 8, 1)))


def test_a_posterior_without_samples_cannot_march():
    grid = make_operands(_grid(8), BASES, None, "float64")
    with pytest.raises(InputError, match="no samples"):
        march(_coloured().base, _params(), jnp.ones((1, 8, 1)), grid, jax.random.key(0), 3, 2)


def test_a_band_limited_mean_keeps_what_the_basis_holds_and_nothing_else():
    x = np.arange(16) / 16 * 2 * np.pi
    for bucket in (None, (19,)):
        grid = make_operands(_grid(16), BASES, bucket, "float64")
        field = np.zeros((2, grid.shape[0], 1))
        field[:, :16, 0] = np.cos(2 * x) + np.sin(5 * x)
        kept = project(jnp.asarray(field), grid)
        np.testing.assert_allclose(kept[:, :16, 0], np.broadcast_to(np.cos(2 * x), (2, 16)), atol=1e-12)
