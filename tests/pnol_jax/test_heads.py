"""Heads on one operator are the operators that they stand for, and what they share is computed once."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from pnol_jax.bases import Basis, make_operands
from pnol_jax.config import TrainingConfig
from pnol_jax.grids import Axis, Grid
from pnol_jax.operators import build_operator, functional
from pnol_jax.posterior_config import HeadsConfig
from pnol_jax.posteriors import Batch
from pnol_jax.posteriors.heads import Heads
from pnol_jax.posteriors.problem import Problem
from tests.linear import constants, field

N, BASES = 9, (Basis("fourier", 4),)
GRID = make_operands(Grid((Axis.uniform(N),)), BASES)


def make(heads: int, operator: str = "fno", **options: Any) -> tuple[Heads, dict[str, jax.Array]]:
    def build(channels: int, seed: int | None) -> Any:
        return functional(build_operator(operator, 1, channels, BASES, options, nnx.Rngs(seed or 0)))

    posterior = Heads.build(HeadsConfig(heads=heads), Problem(TrainingConfig(), build, 1))
    return posterior, posterior.initial(0) | constants(1, 1)


def alone(posterior: Heads, params: dict[str, jax.Array], head: int) -> dict[str, jax.Array]:
    """The parameters of the operator with one head."""
    return {name: value[head] if name in posterior._headed else value for name, value in params.items()}


def test_each_head_is_the_operator_that_it_would_be_alone() -> None:
    for operator, options in (("fno", {"width": 4, "depth": 1}), ("deeponet", {"width": 4, "depth": 2, "features": 4})):
        posterior, params = make(3, operator, **options)
        batch, key = Batch(field(2, N, 1), field(2, N, 1, seed=1)), jax.random.key(0)
        each = [posterior.base.predict(alone(posterior, params, i), batch.inputs, GRID, key) for i in range(3)]
        losses = [posterior.base.loss(alone(posterior, params, i), batch, GRID, key)[0] for i in range(3)]
        assert np.ptp(losses) > 1e-3
        np.testing.assert_allclose(posterior.loss(params, batch, GRID, key)[0], np.mean(losses), rtol=1e-5)
        found, means = posterior.predict(params, batch.inputs, GRID, key), np.stack([one.mean for one in each])
        np.testing.assert_allclose(found.mean, means.mean(axis=0), atol=1e-6)
        np.testing.assert_allclose(found.epistemic, means.var(axis=0, ddof=1), rtol=1e-3, atol=1e-7)


def test_what_heads_share_is_computed_once() -> None:
    def work(heads: int) -> float:
        posterior, params = make(heads, width=32, depth=4, projection_ratio=1.0)
        predict = jax.jit(lambda params: posterior.predict(params, jnp.zeros((4, N, 1)), GRID, jax.random.key(0)).mean)
        return float(predict.lower(params).compile().cost_analysis()["flops"])

    two, three = work(2), work(3)
    assert three - two < 0.25 * two  # a third operator would be a half more
