"""NUTS on the linear Gaussian case has the moments of the exact posterior."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("blackjax", reason="pnol-jax[reference] is not installed")

from pnol_jax.posteriors import nuts
from tests.regression import constants, laplace, operands, problem, regression


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
def test_on_a_linear_operator_the_chain_has_the_posteriors_moments() -> None:
    """Also where it starts away from the mode: Laplace's own mean is then not the posterior's."""
    made, draws = laplace("convolution"), 1000
    params = made.initial(0) | constants()
    exact = regression(made, params, problem(), 0.7)
    fitted = made.fit(params, problem().batches())
    index = np.asarray(fitted["laplace.index"])
    chain = nuts.sample(made, fitted, problem().batches(), jax.random.key(0), draws=draws, warmup=300)
    assert chain.divergences == 0
    deviation = np.sqrt(np.diag(exact.covariance)[index])
    theta = made.vector(fitted)[index] + np.asarray(chain.draws)
    error = (theta.mean(0) - exact.mean[index]) / deviation
    assert np.abs(error).max() < 6 * draws**-0.5  # of independent draws these would be standard normal / sqrt(draws)
    np.testing.assert_allclose(theta.std(0), deviation, rtol=6 * (2 * draws) ** -0.5)

    inputs = jnp.asarray(problem().inputs[:2])
    found = jax.jit(lambda: nuts.predict(made, fitted, chain, inputs, operands()))()
    linear = jax.jit(lambda: made.predict(fitted, inputs, operands(), jax.random.key(0)))()
    np.testing.assert_allclose(found.epistemic, linear.epistemic, rtol=6 * (2 / draws) ** 0.5)
