"""The evidence's lower bound where it has a closed form: operators linear in their weights, Gaussian noise."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from pnol_jax.errors import InputError
from pnol_jax.operators import build_operator
from pnol_jax.posterior_config import VariationalConfig
from pnol_jax.posteriors import Batch
from pnol_jax.posteriors.gaussian_weights import GaussianWeights
from pnol_jax.posteriors.variational import LOG_NOISE, Variational
from tests.linear import BASES, Pointwise, Spectral, close_in_mean, constants, field, operands, problem
from tests.operators import OPTIONS as SMALL

CASES, N, NOISE, PRIOR = 3, 7, 0.3, 0.8
ALL = ["operator.*"]
BATCH = (field(CASES, N, 2), field(CASES, N, 1, seed=1))


def make(operator: Any = Pointwise, rank: int = 0, **changes: Any) -> tuple[Variational, dict[str, jax.Array]]:
    config = VariationalConfig(heteroscedastic=False, parameters=ALL, rank=rank, prior=PRIOR, initial=0.2, **changes)
    posterior = Variational.build(config, problem(operator, 2, 1, CASES))
    return posterior, posterior.initial(0) | constants(2, 1) | {LOG_NOISE: jnp.full(1, np.log(NOISE))}


def stacked(posterior: Variational, params: Any, prefix: str) -> np.ndarray[Any, Any]:
    """Of all weights side by side, (weights,) or (rank, weights)."""
    lead = params[f"operator.{prefix}{next(iter(posterior.weights.shapes))}"].ndim - len(
        next(iter(posterior.weights.shapes.values()))
    )
    arrays = [params[f"operator.{prefix}{name}"] for name in posterior.weights.shapes]
    return np.concatenate([np.reshape(value, (*value.shape[:lead], -1)) for value in arrays], axis=-1)  # type: ignore[no-any-return]


def covariance(posterior: Variational, params: Any) -> np.ndarray[Any, Any]:
    dense = np.diag((PRIOR * np.exp(stacked(posterior, params, "deviation."))) ** 2)
    if posterior.weights.rank:
        factor = stacked(posterior, params, "factor.")
        dense = dense + factor.T @ factor
    return dense


def features(posterior: Variational, params: Any, inputs: jax.Array) -> np.ndarray[Any, Any]:
    """The derivative of the outputs by the weights, which does not depend on them: (observations, weights)."""
    weights = {f"operator.{name}": params[f"operator.{name}"] for name in posterior.weights.shapes}
    found = jax.jacobian(lambda weights: posterior.base.mean(params | weights, inputs, operands(N)))(weights)
    slopes = [np.reshape(found[f"operator.{name}"], (inputs.shape[0] * N, -1)) for name in posterior.weights.shapes]
    return np.concatenate(slopes, axis=1)  # type: ignore[no-any-return]


def bound(posterior: Variational, params: Any) -> float:
    """Minus the evidence's lower bound per observation."""
    mean, spread = stacked(posterior, params, ""), covariance(posterior, params)
    phi, truth = features(posterior, params, BATCH[0]), np.ravel(BATCH[1])
    squares = (truth - phi @ mean) ** 2 + np.einsum("ni,ij,nj->n", phi, spread, phi)
    fit = 0.5 * np.log(2 * np.pi * NOISE) + 0.5 * squares.mean() / NOISE
    return float(fit + divergence(mean, spread) / truth.size)


def divergence(mean: Any, spread: Any) -> float:
    """KL(N(mean, spread) || N(0, PRIOR^2)), the textbook's."""
    logarithm = np.linalg.slogdet(spread)[1] - mean.size * np.log(PRIOR**2)
    return float(0.5 * ((np.trace(spread) + mean @ mean) / PRIOR**2 - mean.size - logarithm))


def losses(posterior: Variational, params: Any, count: int = 4000) -> Any:
    batch, keys = Batch(*BATCH), jax.random.split(jax.random.key(0), count)
    return jax.jit(jax.vmap(lambda key: posterior.loss(params, batch, operands(N), key)[0]))(keys)


@pytest.mark.parametrize("rank", [0, 2])
def test_the_divergence_is_that_of_dense_gaussians(x64: None, rank: int) -> None:
    posterior, params = make(Spectral, rank)
    params = {name: value + 0.1 * field(*value.shape, seed=len(name)) for name, value in params.items()}
    expected = divergence(stacked(posterior, params, ""), covariance(posterior, params))
    np.testing.assert_allclose(posterior.weights.divergence(params), expected, rtol=1e-12)


@pytest.mark.parametrize("rank", [0, 2])
@pytest.mark.parametrize("operator", [Pointwise, Spectral])  # whose outputs are drawn, or its weights
def test_the_loss_is_in_expectation_minus_the_evidences_lower_bound(x64: None, operator: Any, rank: int) -> None:
    posterior, params = make(operator, rank)
    close_in_mean(losses(posterior, params), bound(posterior, params))


@pytest.mark.parametrize("operator", [Pointwise, Spectral])
def test_the_optimum_is_the_known_mean_field_one(x64: None, operator: Any) -> None:
    """Means are those of the exact posterior; a precision is the diagonal of the exact precision."""
    posterior, params = make(operator)
    phi, truth = features(posterior, params, BATCH[0]), np.ravel(BATCH[1])
    precision = phi.T @ phi / NOISE + np.eye(phi.shape[1]) / PRIOR**2
    mean, log_share = np.linalg.solve(precision, phi.T @ truth / NOISE), -0.5 * np.log(np.diag(precision) * PRIOR**2)
    start = 0
    for name, shape in posterior.weights.shapes.items():
        stop = start + int(np.prod(shape))
        params[f"operator.{name}"] = jnp.asarray(mean[start:stop].reshape(shape))
        params[f"operator.deviation.{name}"] = jnp.asarray(log_share[start:stop].reshape(shape))
        start = stop
    trained = {name: params[name] for name in params if name.startswith("operator.") and name != LOG_NOISE}

    def gradient(key: jax.Array) -> Any:
        return jax.grad(lambda own: posterior.loss(params | own, Batch(*BATCH), operands(N), key)[0])(trained)

    slopes = jax.jit(jax.vmap(gradient))(jax.random.split(jax.random.key(1), 4000))
    for values in slopes.values():
        close_in_mean(values, 0.0)


class Once(GaussianWeights):
    """Weights that are drawn once a step, all of them."""

    local = frozenset()  # type: ignore[assignment]


def test_drawing_outputs_in_place_of_weights_makes_the_loss_less_noisy(x64: None) -> None:
    posterior, params = make()
    once = replace(posterior, weights=Once(**vars(posterior.weights)))
    assert 1.5 * losses(posterior, params).var() < losses(once, params).var()
    close_in_mean(losses(once, params), bound(posterior, params))


@pytest.mark.slow
def test_a_case_is_worth_as_many_observations_as_it_is_said_to_be(x64: None) -> None:
    (points, params), (five, _) = make(), make(observations=5.0)
    batch, key = Batch(*BATCH), jax.random.key(0)
    (many, metrics), (few, _) = (each.loss(params, batch, operands(N), key) for each in (points, five))
    np.testing.assert_allclose(few - many, metrics["kl"] / CASES * (1 / 5 - 1 / N), rtol=1e-10)
    padded = Batch(*(jnp.pad(part, [(0, 0), (0, 3), (0, 0)]) for part in batch))
    again, _ = points.loss(params, padded, operands(N, N + 3), key)
    np.testing.assert_allclose(again, many, rtol=1e-12)


@pytest.mark.parametrize("rank", [0, 2])
def test_moments_of_a_linear_operator_are_those_of_its_weights(x64: None, rank: int) -> None:
    posterior, params = make(Pointwise, rank, draws=4000)
    predictive = jax.jit(posterior.predict)(params, BATCH[0], operands(N), jax.random.key(0))
    phi, spread = features(posterior, params, BATCH[0]), covariance(posterior, params)
    variance = np.einsum("ni,ij,nj->n", phi, spread, phi).reshape(CASES, N, 1)
    mean = posterior.base.mean(params, BATCH[0], operands(N))
    np.testing.assert_array_less(np.abs(predictive.mean - mean), 5 * np.sqrt(variance / 4000))
    np.testing.assert_allclose(predictive.epistemic, variance, rtol=5 * (2 / 4000) ** 0.5)
    np.testing.assert_allclose(predictive.aleatoric, NOISE, rtol=1e-6)


@pytest.mark.parametrize("name", SMALL)
def test_by_default_the_weights_are_those_in_which_the_outputs_are_linear(x64: None, name: str) -> None:
    def operator(inputs: int, outputs: int, rngs: nnx.Rngs) -> nnx.Module:
        return build_operator(name, inputs, outputs, BASES, SMALL[name], rngs)

    posterior = Variational.build(VariationalConfig(heteroscedastic=False), problem(operator, 1, 1, CASES))
    params, inputs = posterior.initial(0) | constants(1, 1), field(1, N, 1)

    def mean(scale: float) -> jax.Array:
        own = {f"operator.{weight}": scale * params[f"operator.{weight}"] for weight in posterior.weights.shapes}
        return posterior.base.mean(params | own, inputs, operands(N))

    assert float(jnp.abs(mean(1.0)).max()) > 1e-3
    np.testing.assert_allclose(mean(3.0), 3 * mean(1.0), rtol=1e-10)


def test_an_operator_without_a_last_layer_must_be_told_which_weights() -> None:
    with pytest.raises(InputError, match="got none, and this operator names no last layer; expected patterns such as"):
        Variational.build(VariationalConfig(), problem(Spectral, 1, 1, CASES))


def test_what_cannot_work_is_refused(x64: None) -> None:
    with pytest.raises(InputError, match=r"posterior\.parameters: 'operator\.proj' fits no parameter; there are"):
        Variational.build(VariationalConfig(parameters=["operator.proj"]), problem(Pointwise, 1, 1, 1))
    with pytest.raises(InputError, match="got 0 training cases"):
        Variational.build(VariationalConfig(), problem(Pointwise, 1, 1))
    with pytest.raises(
        InputError, match=r"training\.loss: got 'h1', but posterior\.name = 'variational' is trained by"
    ):
        Variational.build(VariationalConfig(), problem(Pointwise, 1, 1, 1, loss="h1"))
