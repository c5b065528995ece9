"""Flow matching where the flow is known: from a Gaussian to a Gaussian, point by point."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from pnol_jax.bases import GridOperands
from pnol_jax.errors import InputError
from pnol_jax.posterior_config import FlowConfig, NoiseConfig
from pnol_jax.posteriors import Batch
from pnol_jax.posteriors.flow import Flow, _paired_moments
from tests.linear import close_in_mean, constants, field, operands, problem

N, SPREAD = 6, 0.5
CORRELATED = NoiseConfig("correlated", length=0.3)


class Gaussian(nnx.Module):
    """The velocity that carries N(0, 1) to N(a, SPREAD^2), times a weight that should be one; without t, the mean a.

    x_t given a is N(t a, (1 - t)^2 + t^2 SPREAD^2), and the velocity is the mean of x_1 - x_0 given x_t.
    """

    def __init__(self, inputs: int, outputs: int, rngs: nnx.Rngs) -> None:
        self.weight = nnx.Param(jnp.ones(1), axes=(None,))
        self.outputs = outputs

    def __call__(self, inputs: jax.Array, grid: GridOperands) -> jax.Array:
        if inputs.shape[-1] == 1:
            return jnp.concatenate([inputs, jnp.full_like(inputs, 0.3)], axis=-1) * self.weight[...]
        field, a, t = jnp.split(inputs, 3, axis=-1)
        slope = (t * SPREAD**2 - (1 - t)) / ((1 - t) ** 2 + t**2 * SPREAD**2)
        return (a + slope * (field - t * a)) * self.weight[...]


def make(**changes: Any) -> tuple[Flow, dict[str, jax.Array]]:
    config = FlowConfig(**({"residual": False, "steps": 64, "noise": CORRELATED, "pairs": 500} | changes))
    posterior = Flow.build(config, problem(Gaussian, 1, 1))
    return posterior, posterior.initial(0) | constants(1, 1)


@pytest.mark.parametrize(("method", "tolerance"), [("heun", 1e-3), ("euler", 4e-2)])
def test_noise_is_carried_to_the_known_gaussian(x64: None, method: str, tolerance: float) -> None:
    posterior, params = make(method=method)
    a, noise, grid = field(2, N, 1), field(2, N, 1, seed=1), operands(N)
    np.testing.assert_allclose(posterior._carried(params, noise, a, grid), a + SPREAD * noise, atol=tolerance)
    found = jax.jit(posterior.predict)(params, a, grid, jax.random.key(0))
    np.testing.assert_allclose(found.mean, a, atol=tolerance)  # opposite noise leaves no error of sampling
    np.testing.assert_allclose(found.aleatoric, SPREAD**2, rtol=5 * (2 / 1000) ** 0.5)


def test_of_more_steps_the_error_falls_as_the_square_by_heuns_method(x64: None) -> None:
    a, noise, errors = field(2, N, 1), field(2, N, 1, seed=1), []
    for steps in (16, 32):
        posterior, params = make(steps=steps)
        carried = posterior._carried(params, noise, a, operands(N))
        errors.append(float(jnp.abs(carried - a - SPREAD * noise).max()))
    assert 3 < errors[0] / errors[1] < 5


def test_the_known_velocity_is_where_the_gradient_vanishes(x64: None) -> None:
    posterior, params = make()
    a = field(16, N, 1)
    # Point by point the noise of a draw is independent of the outputs', which is all that the velocity depends on.
    outputs = a + SPREAD * field(16, N, 1, seed=1)

    def slope(weight: jax.Array, key: jax.Array) -> jax.Array:
        drawn = Batch(a, a + SPREAD * jax.random.normal(jax.random.fold_in(key, 7), outputs.shape))
        name = "operator.flow.weight"
        return jax.grad(lambda w: posterior.loss(params | {name: w}, drawn, operands(N), key)[0])(weight)

    keys = jax.random.split(jax.random.key(0), 2000)
    close_in_mean(jax.jit(jax.vmap(slope, (None, 0)))(jnp.ones(1), keys), 0.0)
    off = jax.jit(jax.vmap(slope, (None, 0)))(jnp.full(1, 0.9), keys).mean()
    assert off < -0.05


def test_samples_on_a_fine_grid_are_those_on_a_coarse_one(x64: None) -> None:
    posterior, params = make(steps=4)
    a, key = field(2, 2 * N, 1), jax.random.key(0)
    fine = posterior.predict(params, a, operands(2 * N), key, 3).samples
    coarse = posterior.predict(params, a[:, ::2], operands(N), key, 3).samples
    assert fine is not None
    np.testing.assert_allclose(fine[:, :, ::2], coarse, atol=1e-12)


def test_around_a_mean_the_flow_is_of_what_it_leaves_over_in_its_own_deviations(x64: None) -> None:
    """The mean's operator gives `a` and one deviation; the flow's gives N(a, SPREAD^2) of the standardised rest."""
    posterior, params = make(residual=True)
    a = field(1, N, 1)
    found = jax.jit(posterior.predict)(params, a, operands(N), jax.random.key(0))
    deviation = np.sqrt(np.log1p(np.exp(0.3)) + 1e-8)
    np.testing.assert_allclose(found.mean, a + deviation * a, atol=1e-3)
    np.testing.assert_allclose(found.aleatoric, (deviation * SPREAD) ** 2, rtol=5 * (2 / 1000) ** 0.5)


def test_on_a_trajectory_every_step_starts_from_the_true_state(x64: None) -> None:
    posterior, params = make()
    states, key, grid = field(2, 3, N, 1), jax.random.key(0), operands(N)
    total, _ = posterior.loss(params, Batch(states[:, 0], states[:, 1:]), grid, key)
    keys = [jax.random.fold_in(jax.random.split(key, 3)[2], k) for k in (0, 1)]
    pairs = [Batch(states[:, k], states[:, k + 1]) for k in (0, 1)]
    steps = [posterior._matched(params, pair, grid, key) for pair, key in zip(pairs, keys, strict=True)]
    np.testing.assert_allclose(total, np.mean(steps), rtol=1e-12)


def test_moments_of_pairs_are_unbiased(x64: None) -> None:
    """Draws of a pair that depend on each other: x and 0.6 y - 0.8 x have variance one, and correlation -0.8."""
    x, y = np.random.default_rng(0).standard_normal((2, 3, 20_000)) + 2.0
    drawn = jnp.stack([x, 2 + 0.6 * (y - 2) - 0.8 * (x - 2)], axis=1)
    mean, variance = _paired_moments(jnp.asarray(drawn))
    close_in_mean(mean, 2.0)
    close_in_mean(variance, 1.0)


def test_a_loss_that_is_not_the_flows_is_refused_where_there_is_no_mean() -> None:
    with pytest.raises(InputError, match=r"training\.loss: got 'h1', but posterior\.name = 'flow' is trained by flow"):
        Flow.build(FlowConfig(residual=False), problem(Gaussian, 1, 1, loss="h1"))
