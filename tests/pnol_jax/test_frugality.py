"""Memory is saved without another result: layers computed again, batches in parts, 16 bits where they suffice."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from pnol_jax.bases import Basis, make_operands, stack_operands
from pnol_jax.config import TrainingConfig
from pnol_jax.grids import Axis, Grid
from pnol_jax.operators import build_operator, functional
from pnol_jax.posterior_config import DeterministicConfig
from pnol_jax.posteriors import Batch, Posterior, build_posterior
from pnol_jax.training.step import initial_state, make_step
from tests.operators import OPTIONS as SMALL

BASES = (Basis("fourier", 6), Basis("fourier", 5))
OPTIONS = SMALL | {"fno": SMALL["fno"] | {"norm": "group"}}
NAMES = ("inputs.mean", "inputs.std", "outputs.mean", "outputs.std")


def posterior(operator: str = "fno", **training: object) -> Posterior:
    settings = TrainingConfig(**training)  # type: ignore[arg-type]

    def build(channels: int, seed: int | None):  # type: ignore[no-untyped-def]
        options = OPTIONS[operator] | {"remat": settings.remat}
        return functional(build_operator(operator, 1, channels, BASES, options, nnx.Rngs(seed or 0)), settings.remat)

    return build_posterior(DeterministicConfig(), settings, build, 1)


def problem(dtype: str):  # type: ignore[no-untyped-def]
    grid = make_operands(Grid((Axis.uniform(9), Axis.uniform(8))), BASES, None, dtype)
    draws = np.random.default_rng(0).standard_normal((2, 4, 9, 8, 1)).astype(dtype)
    constants = {f"normaliser.{name}": jnp.ones(1, dtype) for name in NAMES}
    return constants, Batch(jnp.asarray(draws[0]), jnp.asarray(draws[1])), grid


def gradient(made: Posterior, dtype: str):  # type: ignore[no-untyped-def]
    constants, batch, grid = problem(dtype)

    def loss(params):  # type: ignore[no-untyped-def]
        return made.loss(params | constants, batch, grid, jax.random.key(0))[0]

    return jax.jit(jax.value_and_grad(loss))(made.initial(0))


@pytest.mark.parametrize("operator", OPTIONS)
@pytest.mark.parametrize("remat", ["dots", "block", "full"])
@pytest.mark.usefixtures("x64")
def test_what_is_computed_again_is_the_same(operator: str, remat: str) -> None:
    value, slopes = gradient(posterior(operator), "float64")
    again, found = gradient(posterior(operator, remat=remat), "float64")
    assert np.isclose(again, value, rtol=1e-13)
    for name, slope in slopes.items():
        np.testing.assert_allclose(found[name], slope, rtol=0, atol=1e-12 * np.abs(slope).max())


def test_a_layer_that_is_computed_again_is_not_kept() -> None:
    def memory(remat: str) -> int:
        made, (constants, _, grid) = posterior(remat=remat), problem("float32")
        big = Batch(*(jax.ShapeDtypeStruct((512, 9, 8, 1), jnp.float32),) * 2)
        step = jax.jit(jax.grad(lambda params, batch: made.loss(params | constants, batch, grid, jax.random.key(0))[0]))
        return int(step.lower(made.initial(0), big).compile().memory_analysis().temp_size_in_bytes)

    assert memory("full") < memory("block") < memory("none")


@pytest.mark.slow
@pytest.mark.parametrize("per_case", [False, True])
@pytest.mark.usefixtures("x64")
def test_a_batch_in_parts_gives_the_step_of_the_whole(per_case: bool) -> None:
    constants, batch, grid = problem("float64")
    operands = stack_operands([grid] * 4) if per_case else grid
    params = []
    for parts in (1, 2, 4):
        optimizer = optax.with_extra_args_support(optax.adam(1e-2))
        state = initial_state(posterior(), optimizer, 0, averaged=False)
        state, metrics = make_step(posterior(), optimizer, 0.0, parts)(state, constants, batch, operands)
        params.append((metrics["loss"], state.params))
    for loss, found in params[1:]:
        assert np.isclose(loss, params[0][0], rtol=1e-14)
        for name, value in params[0][1].items():
            np.testing.assert_allclose(found[name], value, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("precision", "rounding", "share"), [("bfloat16", 2**-7, 0.05), ("float16", 2**-10, 0.01)])
def test_half_the_bits_change_the_gradient_by_their_rounding(precision: str, rounding: float, share: float) -> None:
    value, slopes = gradient(posterior(), "float32")
    rounded, found = gradient(posterior(precision=precision), "float32")
    assert np.isclose(rounded, value, rtol=rounding)
    for name, slope in slopes.items():
        assert found[name].dtype == jnp.float32
        assert np.linalg.norm(found[name] - slope) < share * np.linalg.norm(slope), name
