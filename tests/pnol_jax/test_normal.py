"""The normal distribution function in NumPy is SciPy's, and that of JAX's arrays stays in JAX."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import ndtr

from pnol_jax.normal import cdf


def test_it_is_that_of_scipy_far_into_the_tails() -> None:
    x = np.concatenate([np.linspace(-40, 40, 80001), [-np.inf, np.inf, 0.0]])
    np.testing.assert_allclose(cdf(x), ndtr(x), rtol=0, atol=1e-15)
    held = x[x > -37]  # beyond that numbers have fewer digits
    np.testing.assert_allclose(cdf(held), ndtr(held), rtol=1e-8)
    assert np.isnan(cdf(np.array([np.nan]))).all()


def test_the_kind_of_array_stays() -> None:
    assert cdf(np.zeros(3, np.float32)).dtype == np.float32
    assert isinstance(jax.jit(cdf)(jnp.zeros(3)), jax.Array)
