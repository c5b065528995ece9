"""Student's t as noise: its density and quantiles against SciPy's, and what it learns of data with heavy tails."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.stats import t

from pnol_jax import quantiles, scores
from pnol_jax.errors import InputError
from pnol_jax.posterior_config import DeterministicConfig, NoiseConfig, StudentConfig
from pnol_jax.posteriors import Batch, Posterior, build_posterior
from pnol_jax.posteriors.student import DEGREES, Student, student_nll, student_quantiles
from tests.compiling import compiled_fast
from tests.linear import Pointwise, close_in_mean, constants, field, operands, problem

pytestmark = pytest.mark.usefixtures("x64")
N = 8
LEVELS = (0.001, 0.05, 0.3, 0.5, 0.9, 0.995)


@pytest.fixture(autouse=True)
def _compile_fast() -> Iterator[None]:
    """These programs are small."""
    with compiled_fast():
        yield


def make(channels: int = 1, **options: Any) -> tuple[Student, dict[str, jax.Array]]:
    posterior = Student.build(StudentConfig(**options), problem(Pointwise, 1, channels))
    params = posterior.initial(0) | constants(1, channels)
    return posterior, posterior.fit(params, list)


def test_the_loss_is_the_mean_of_scipys_density() -> None:
    mean, scale, truth = field(3, N, 2), jnp.exp(field(3, N, 2, seed=1)), 5 * field(3, N, 2, seed=2)
    degrees = jnp.asarray([2.2, 40.0])
    expected = -t.logpdf(truth, degrees, mean, scale).mean()
    found = student_nll(mean, scale**2, degrees, truth, operands(N))
    np.testing.assert_allclose(found, expected, rtol=1e-8)  # JAX's beta function has nine digits
    padded = [jnp.pad(each, ((0, 0), (0, 3), (0, 0)), constant_values=1.0) for each in (mean, scale**2, truth)]
    padded_nll = student_nll(*padded[:2], degrees, padded[2], operands(N, N + 3))
    np.testing.assert_allclose(padded_nll, found, rtol=1e-12)


def test_quantiles_are_scipys() -> None:
    degrees = np.array([2.01, 3.0, 50.0])
    expected = t.ppf(np.asarray(LEVELS)[:, None], degrees)
    np.testing.assert_allclose(student_quantiles(LEVELS, jnp.asarray(degrees)), expected, rtol=1e-10, atol=1e-12)


def test_the_predictive_states_the_variance_and_the_quantiles_of_t() -> None:
    posterior, params = make(2, degrees=4.0, levels=list(LEVELS))
    params |= {"normaliser.outputs.std": jnp.asarray([2.0, 0.5])}
    found = posterior.predict(params, field(3, N, 1), operands(N), jax.random.key(0))
    assert found.quantiles is not None
    law = t(4.0, found.mean, np.sqrt(found.aleatoric / 2))  # of 4 degrees the variance is twice the squared scale
    for level, stated in zip(LEVELS, found.quantiles, strict=True):
        np.testing.assert_allclose(stated, law.ppf(level), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(found.interval(0.9)[0], law.ppf(0.05), rtol=1e-10, atol=1e-10)
    np.testing.assert_array_equal(found.epistemic, 0)


@pytest.mark.slow
@pytest.mark.parametrize("trained", [-1e3, -10.0, 0.0, 1e3])
def test_whatever_is_trained_is_more_than_two_degrees(trained: float) -> None:
    posterior, params = make()
    params |= {DEGREES: jnp.full(1, trained)}
    assert float(posterior.excess(params)[0]) > 0
    batch = Batch(field(2, N, 1), field(2, N, 1, seed=1))
    slopes = jax.grad(lambda params: posterior.loss(params, batch, operands(N), jax.random.key(0))[0])(params)
    assert all(bool(jnp.all(jnp.isfinite(slope))) for slope in slopes.values())
    assert bool(jnp.isfinite(posterior.predict(params, *batch[:1], operands(N), jax.random.key(0)).aleatoric).all())


def trained(posterior: Posterior, batch: Batch, points: int, steps: int = 600) -> dict[str, jax.Array]:
    """Parameters at the least loss on a batch, by Adam at a rate that falls to zero."""
    start, fixed, grid = posterior.initial(0), constants(1, 1), operands(points)
    optimizer, key = optax.adam(optax.cosine_decay_schedule(0.1, steps)), jax.random.key(0)

    def step(state: Any, _: None) -> tuple[Any, None]:
        params, moments = state
        slope = jax.grad(lambda params: posterior.loss(params | fixed, batch, grid, key)[0])(params)
        updates, moments = optimizer.update(slope, moments)
        return (optax.apply_updates(params, updates), moments), None

    (params, _), _ = jax.lax.scan(step, (start, optimizer.init(start)), None, length=steps)
    return posterior.fit(params | fixed, list)


def heavy(seed: int, degrees: float = 3.0, scale: float = 0.4, cases: int = 100, points: int = 100) -> Batch:
    """2 a + 1 with noise of t."""
    inputs = field(cases, points, 1, seed=seed)
    noise = t.rvs(degrees, size=inputs.shape, random_state=np.random.default_rng(seed + 1))
    return Batch(inputs, 2 * inputs + 1 + scale * jnp.asarray(noise))


@pytest.fixture(scope="module")
def fitted() -> tuple[Student, dict[str, jax.Array]]:
    with jax.enable_x64(True):
        posterior = make()[0]
        return posterior, trained(posterior, heavy(0), 100)


@pytest.mark.slow
def test_degrees_scale_and_mean_are_those_of_the_data(fitted: tuple[Student, dict[str, jax.Array]]) -> None:
    """Within five standard errors of maximum likelihood."""
    posterior, params = fitted
    inputs, nu, scale, count = field(1, 100, 1, seed=9), 3.0, 0.4, 10_000
    found = posterior.predict(params, inputs, operands(100), jax.random.key(0))
    error_nu, error_scale = errors(nu, count)
    excess = posterior.excess(params)
    np.testing.assert_allclose(2 + excess[0], nu, atol=5 * error_nu)
    squared = found.aleatoric / (1 + 2 / excess)
    np.testing.assert_allclose(jnp.sqrt(squared).mean(), scale, rtol=5 * error_scale)
    location = scale * ((nu + 3) / (nu + 1) / count) ** 0.5
    np.testing.assert_allclose(found.mean, 2 * inputs + 1, atol=5 * location * (1 + float(jnp.abs(inputs).max())))


def errors(nu: float, count: int) -> tuple[float, float]:
    """Standard errors of nu and of log scale: the inverse of the scores' covariance, integrated over t's quantiles."""
    shares = (np.arange(200_000) + 0.5) / 200_000
    y, h = t.ppf(shares, nu), 1e-4
    of_nu = (t.logpdf(y, nu + h) - t.logpdf(y, nu - h)) / (2 * h)
    of_scale = (t.logpdf(y, nu, 0, 1 + h) - t.logpdf(y, nu, 0, 1 - h)) / (2 * h)
    covariance = np.linalg.inv(np.cov([of_nu, of_scale])) / count
    return float(covariance[0, 0] ** 0.5), float(covariance[1, 1] ** 0.5)


@pytest.mark.slow
def test_its_intervals_cover_where_those_of_a_gaussian_do_not(fitted: tuple[Student, dict[str, jax.Array]]) -> None:
    gaussian = build_posterior(DeterministicConfig(), *problem(Pointwise, 1, 1, loss="nll"))
    of_gaussian = trained(gaussian, heavy(0), 100)
    fresh, grid = heavy(50, cases=400), operands(100)
    sampling = (0.9 * 0.1) ** 0.5 * (1 / 40_000 + 1 / 10_000) ** 0.5
    covered, crps = [], []
    for posterior, params in (fitted, (gaussian, of_gaussian)):
        found = posterior.predict(params, fresh.inputs, grid, jax.random.key(0))
        lower, upper = found.interval(0.9)
        covered.append(float(((lower <= fresh.outputs) & (fresh.outputs <= upper)).mean()))
        crps.append(float(scores.crps(found, fresh.outputs, grid.weights()).mean()))
    assert abs(covered[0] - 0.9) < 5 * sampling
    assert covered[1] > 0.9 + 5 * sampling  # the variance is that of the tails, and so too wide for the rest
    assert crps[0] < crps[1]


def test_draws_have_the_stated_quantiles_and_the_ranks_of_a_random_field() -> None:
    posterior, params = make(levels=list(LEVELS), noise=NoiseConfig("correlated", length=100.0))
    drawn = posterior.predict(params, field(1, N, 1), operands(N), jax.random.key(0), 4000)
    assert drawn.samples is not None
    assert drawn.quantiles is not None
    for level, stated in zip(LEVELS, drawn.quantiles, strict=True):
        close_in_mean((drawn.samples < stated).astype(float), level)
    stated = jnp.broadcast_to(drawn.quantiles[:, None], (len(LEVELS), *drawn.samples.shape))
    ranks = quantiles.score(LEVELS, stated, drawn.samples)
    np.testing.assert_allclose(ranks, jnp.broadcast_to(ranks[:, :, :1], ranks.shape), atol=0.05)


def test_a_trajectory_is_a_mean_over_its_steps() -> None:
    posterior, params = make()
    inputs, outputs = field(2, N, 1), field(2, 3, N, 1, seed=1)
    grid, key = operands(N), jax.random.key(0)
    expected, state = [], inputs
    for step in range(3):
        expected.append(posterior.loss(params, Batch(state, outputs[:, step]), grid, key)[0])
        state = posterior.predict(params, state, grid, key).mean
    found = posterior.loss(params, Batch(inputs, outputs), grid, key)[0]
    np.testing.assert_allclose(found, np.mean(expected), rtol=1e-12)


@pytest.mark.parametrize("levels", [[0.5], [0.9, 0.1], [0.1, 0.1]])
def test_levels_that_do_not_rise_are_refused(levels: list[float]) -> None:
    with pytest.raises(InputError, match=r"posterior\.levels: got \[.*\], expected at least two that rise"):
        make(levels=levels)


def test_another_loss_is_refused() -> None:
    with pytest.raises(InputError, match="'student' is trained by the likelihood of its noise"):
        Student.build(StudentConfig(), problem(Pointwise, 1, 1, loss="h1"))
