"""GELU and its derivative."""

import jax
import jax.numpy as jnp
import numpy as np

from pnol_jax.operators.activations import EDGE, gelu, gelu_slope

X = np.linspace(-9, 9, 20001)


def test_gelu_is_the_exact_one(x64: None) -> None:
    np.testing.assert_allclose(gelu(jnp.asarray(X)), jax.nn.gelu(jnp.asarray(X), approximate=False), atol=1e-12)


def test_the_slope_in_float64_is_the_derivative(x64: None) -> None:
    exact = jax.vmap(jax.grad(lambda x: jax.nn.gelu(x, approximate=False)))(jnp.asarray(X))
    np.testing.assert_allclose(gelu_slope(jnp.asarray(X)), exact, atol=1e-12)
    np.testing.assert_allclose(jax.vmap(jax.grad(gelu))(jnp.asarray(X)), exact, atol=1e-12)


def test_the_rational_slope_in_float32_is_as_good_as_rounding() -> None:
    with jax.enable_x64(True):
        exact = np.asarray(gelu_slope(jnp.asarray(X)))
    found = np.asarray(jax.jit(jax.vmap(jax.grad(gelu)))(jnp.asarray(X, jnp.float32)), np.float64)
    # the point itself is rounded, which moves the slope by at most half an ulp of 9 times gelu'' <= 0.8
    assert np.abs(found - exact).max() < 2.5e-7 + 0.8 * 2.0**-22
    assert np.all(found[X > EDGE + 0.01] > 1 - 5e-7)


def test_slopes_of_infinities_and_nan() -> None:
    slopes = gelu_slope(jnp.asarray([jnp.inf, -jnp.inf, jnp.nan]))
    np.testing.assert_allclose(slopes[:2], [1, 0], atol=5e-7)
    assert jnp.isnan(slopes[2])
