"""SWAG on functions of few weights, where iterates, moments and draws are known."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pnol_jax.errors import InputError
from pnol_jax.posterior_config import SWAGConfig
from pnol_jax.posteriors import Batch, FitBatch
from pnol_jax.posteriors.averaging import follow
from pnol_jax.posteriors.swag import SWAG
from tests.linear import Pointwise, close_in_mean, constants, field, operands, problem

RATE, STEPS, EVERY, RANK, N = 0.3, 30, 3, 4, 5
SETTINGS = SWAGConfig(
    heteroscedastic=False,
    steps=STEPS,
    learning_rate=RATE,
    momentum=0.0,
    clip_norm=0.0,
    every=EVERY,
    rank=RANK,
    draws=400,
)
CURVATURE = np.array([0.5, 1.0, 2.0])


def quadratic(params: Any, batch: Any, grid: Any, key: jax.Array) -> Any:
    return 0.5 * jnp.sum(jnp.asarray(CURVATURE) * (params["operator.w"] - batch) ** 2), {}


def passes(*aims: float) -> Any:
    return lambda: [FitBatch(jnp.full(3, aim), (), jnp.ones(1)) for aim in aims]  # type: ignore[arg-type]


def iterates(start: np.ndarray[Any, Any], *aims: float) -> np.ndarray[Any, Any]:
    found, w = [], start
    for step in range(STEPS):
        w = w - RATE * CURVATURE * (w - aims[step % len(aims)])
        found.append(w)
    return np.stack(found)[EVERY - 1 :: EVERY]


def test_moments_are_those_of_the_iterates_of_gradient_descent(x64: None) -> None:
    start = np.array([3.0, -1.0, 0.5])
    found = follow(quadratic, {"operator.w": jnp.asarray(start)}, {}, passes(1.0, -1.0), SETTINGS, None, 0)
    kept = iterates(start, 1.0, -1.0)
    np.testing.assert_allclose(found.mean["operator.w"], kept.mean(axis=0), atol=1e-14)
    np.testing.assert_allclose(found.squares["operator.w"] / found.number, kept.var(axis=0), atol=1e-14)
    so_far = np.cumsum(kept, axis=0) / np.arange(1, len(kept) + 1)[:, None]
    np.testing.assert_allclose(found.last["operator.w"], (kept - so_far)[::-1][:RANK], atol=1e-14)


def test_members_descend_side_by_side_as_each_would_alone(x64: None) -> None:
    starts = np.random.default_rng(0).standard_normal((2, 3))
    clipped = SWAGConfig(steps=STEPS, learning_rate=RATE, momentum=0.5, clip_norm=0.3, every=EVERY, rank=RANK)
    for settings in (SETTINGS, clipped):
        together = follow(quadratic, {"operator.w": jnp.asarray(starts)}, {}, passes(1.0), settings, 2, 0)
        for member, start in enumerate(starts):
            alone = follow(quadratic, {"operator.w": jnp.asarray(start)}, {}, passes(1.0), settings, None, 0)
            np.testing.assert_allclose(together.mean["operator.w"][member], alone.mean["operator.w"], atol=1e-13)
            np.testing.assert_allclose(together.last["operator.w"][:, member], alone.last["operator.w"], atol=1e-13)


def fitted(members: int = 1) -> tuple[SWAG, dict[str, jax.Array]]:
    config = SWAGConfig(
        heteroscedastic=False, members=members, steps=40, learning_rate=0.1, every=2, rank=RANK, draws=SETTINGS.draws
    )
    posterior = SWAG.build(config, problem(Pointwise, 3, 1))
    batch, params = Batch(field(4, N, 3), field(4, N, 1, seed=1)), posterior.initial(0) | constants(3, 1)
    return posterior, posterior.fit(params, lambda: [FitBatch(batch, operands(N), jnp.ones(4))])


def covariance(params: dict[str, jax.Array], member: Any = ...) -> np.ndarray[Any, Any]:
    """Of kernel and bias together, as Maddox et al. (2019) state it after equation 1."""
    names = ("projection.kernel", "projection.bias")
    variance = np.concatenate([np.ravel(params[f"swag.variance.{name}"][member]) for name in names])
    rows = [np.moveaxis(params[f"swag.deviations.{name}"], 0, -1)[member].reshape(-1, RANK) for name in names]
    deviations = np.concatenate(rows)
    return np.diag(variance) / 2 + deviations @ deviations.T / (2 * (RANK - 1))  # type: ignore[no-any-return]


def test_drawn_weights_have_the_covariance_of_diagonal_and_low_rank(x64: None) -> None:
    posterior, params = fitted()
    drawn = jax.vmap(lambda key: posterior.drawn(params, key))(jax.random.split(jax.random.key(0), 20_000))
    names = ("operator.projection.kernel", "operator.projection.bias")
    weights = np.concatenate([np.asarray(drawn[name]).reshape(20_000, -1) for name in names], axis=1)
    mean = np.concatenate([np.ravel(params[name]) for name in names])
    close_in_mean(weights, mean)
    apart = weights - mean
    close_in_mean(apart[:, :, None] * apart[:, None], covariance(params))


@pytest.mark.parametrize("members", [1, 2])
def test_moments_of_a_linear_operator_are_those_of_its_weights(x64: None, members: int) -> None:
    posterior, params = fitted(members)
    inputs = field(2, N, 3, seed=5)
    predictive = jax.jit(posterior.predict)(params, inputs, operands(N), jax.random.key(0))
    features = np.concatenate([inputs, np.ones((2, N, 1))], axis=-1)
    means, variances = [], []
    for member in range(members) if members > 1 else [...]:
        kernel, bias = (np.asarray(params[f"operator.projection.{name}"][member]) for name in ("kernel", "bias"))
        means.append(features @ np.concatenate([kernel, bias[None]]))
        variances.append(np.einsum("bni,ij,bnj->bn", features, covariance(params, member), features)[..., None])
    epistemic = np.mean(variances, axis=0) + np.var(means, axis=0)
    count = SETTINGS.draws * members
    error = np.sqrt(np.mean(variances, axis=0) / count)  # members are in equal shares
    np.testing.assert_array_less(np.abs(predictive.mean - np.mean(means, axis=0)), 5 * error)
    np.testing.assert_allclose(predictive.epistemic, epistemic, rtol=5 * (2 / SETTINGS.draws) ** 0.5)


def test_samples_of_several_members_are_draws_of_each_in_turn(x64: None) -> None:
    posterior, params = fitted(2)
    exact = {name: 0 * value if name.startswith("swag.") else value for name, value in params.items()}
    exact["noise.variance"] = jnp.zeros((2, 1))
    inputs = field(1, N, 3)
    drawn = posterior.predict(exact, inputs, operands(N), jax.random.key(0), 5).samples
    means = np.asarray(posterior.base.each(exact, inputs, operands(N), jax.random.key(0)).mean)  # type: ignore[union-attr]
    assert drawn is not None
    which = [int(np.argmin([np.abs(sample - mean).max() for mean in means])) for sample in np.asarray(drawn)]
    np.testing.assert_allclose(drawn, means[which], atol=1e-13)
    assert sorted(np.bincount(which)) == [2, 3]


def test_what_cannot_work_is_refused(x64: None) -> None:
    few = SWAGConfig(steps=30, every=10, rank=20)
    with pytest.raises(InputError, match=r"3 iterates are kept, one in 10; expected at least posterior\.rank = 20"):
        SWAG.build(few, problem(Pointwise, 1, 1))
    with pytest.raises(InputError, match="no scale of the loss"):
        SWAG.build(SWAGConfig(), problem(Pointwise, 1, 1, precision="float16"))
    fast = SWAGConfig(steps=STEPS, learning_rate=1e30, clip_norm=0.0, every=EVERY, rank=RANK)
    with pytest.raises(InputError, match=r"posterior\.learning_rate: got 1e\+30, at which descent left"):
        follow(quadratic, {"operator.w": jnp.ones(3)}, {}, passes(0.0), fast, None, 0)
