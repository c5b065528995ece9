"""What is dropped in an operator is a matter of the key and of modes, channels and cases, and of nothing else."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from pnol_jax.bases import Basis, GridOperands, make_operands, stack_operands
from pnol_jax.grids import Axis, Grid
from pnol_jax.operators import Functional, build_operator, functional, stochastic
from pnol_jax.operators.stochastic import Stochastic, drop_modes
from tests.operators import OPTIONS

MIXED = (Basis("fourier", 6), Basis("padded", 5))
KEY = 3


def operands(n: int, bucket: tuple[int, ...] | None = None) -> GridOperands:
    grid = Grid((Axis.uniform(n), Axis.uniform(n, "bounded", 1.0, "centre")))
    return jax.tree.map(jnp.asarray, make_operands(grid, MIXED, bucket, "float64"))  # type: ignore[no-any-return]


def make(name: str, bases: tuple[Basis, ...], **options: object) -> Functional:
    operator = functional(build_operator(name, 1, 1, bases, OPTIONS[name] | options, nnx.Rngs(0)))
    return operator._replace(params={key: jnp.asarray(value, float) for key, value in operator.params.items()})


def dropped(
    operator: Functional, a: jax.Array, grid: GridOperands, *, by_case: bool = True, key: int = KEY
) -> jax.Array:
    def run(params: dict[str, jax.Array], a: jax.Array, grid: GridOperands, key: jax.Array) -> jax.Array:
        with stochastic.at_hand(Stochastic(key, 0.3, 0.2, by_case=by_case)):
            return operator.apply(params, a, grid)

    return jax.jit(run)(operator.params, a, grid, jax.random.key(key))


@pytest.mark.parametrize("name", OPTIONS)
def test_a_bucket_and_operands_per_case_change_no_mask(x64: None, name: str) -> None:
    operator, a = make(name, MIXED), jnp.asarray(np.random.default_rng(0).standard_normal((3, 8, 8, 1)))
    expected = dropped(operator, a, operands(8))
    padded = jnp.pad(a, [(0, 0), (0, 3), (0, 3), (0, 0)], constant_values=7.0)
    found = dropped(operator, padded, stack_operands([operands(8, (11, 11))] * 3))
    np.testing.assert_allclose(found[:, :8, :8], expected, atol=1e-11)
    assert not np.allclose(expected, dropped(operator, a, operands(8), key=KEY + 1), atol=1e-3)


@pytest.mark.parametrize("name", OPTIONS)
def test_a_finer_grid_has_the_same_mask(x64: None, name: str) -> None:
    bases = (Basis("fourier", 6),)
    operator = make(name, bases, **({} if name == "deeponet" else {"coordinates": False}))
    answers = []
    for n in (64, 128):
        x = 2 * np.pi * np.arange(n) / n
        a = jnp.asarray(np.cos(x) + np.sin(2 * x))[None, :, None]
        grid = jax.tree.map(jnp.asarray, make_operands(Grid((Axis.uniform(n),)), bases, None, "float64"))
        answers.append(dropped(operator, a, grid)[0, :, 0])
    np.testing.assert_allclose(answers[1][::2], answers[0], atol=1e-5 * float(jnp.abs(answers[0]).max()))


@pytest.mark.parametrize("name", ["fno", "ffno"])
def test_the_mask_moves_with_the_field(x64: None, name: str) -> None:
    """Cosine and sine of a wave are dropped alike, so a shift of the input shifts the output."""
    bases = (Basis("fourier", 6), Basis("fourier", 4))
    operator = make(name, bases, coordinates=False)
    grid = jax.tree.map(jnp.asarray, make_operands(Grid((Axis.uniform(9), Axis.uniform(8))), bases, None, "float64"))
    a = jnp.asarray(np.random.default_rng(0).standard_normal((2, 9, 8, 1)))
    moved = dropped(operator, jnp.roll(a, (2, 3), (1, 2)), grid)
    np.testing.assert_allclose(moved, jnp.roll(dropped(operator, a, grid), (2, 3), (1, 2)), atol=1e-6)


def test_each_case_has_a_mask_of_its_own_or_all_have_one(x64: None) -> None:
    operator, grid = make("fno", MIXED), operands(8)
    one = jnp.asarray(np.random.default_rng(0).standard_normal((1, 8, 8, 1)))
    each, alike = (dropped(operator, jnp.tile(one, (3, 1, 1, 1)), grid, by_case=by) for by in (True, False))
    assert float(jnp.abs(each[1:] - each[:1]).max(axis=(1, 2, 3)).min()) > 1e-3
    np.testing.assert_allclose(alike, jnp.broadcast_to(alike[:1], alike.shape), atol=1e-13)
    np.testing.assert_allclose(dropped(operator, one, grid), each[:1], atol=1e-13)


def test_the_share_of_dropped_modes_is_the_rate_and_whole_modes_go_in_all_channels() -> None:
    ones = jnp.ones((*(basis.functions for basis in MIXED), 500, 4))
    for whole in (False, True):
        with stochastic.at_hand(Stochastic(jax.random.key(0), 0.3, whole_modes=whole)):
            kept = drop_modes(ones, "layer", MIXED)
        assert set(np.unique(kept)) == {0.0, np.float32(1 / 0.7)}
        channels = 1 if whole else 4
        assert abs(float((kept == 0).mean()) - 0.3) < 5 * (0.21 / (500 * channels * 4 * 3)) ** 0.5
        assert bool(jnp.all(kept == kept[..., :1])) == whole
        np.testing.assert_array_equal(kept[:4], kept[4:])  # wave numbers 0 ... 3: cosines, then sines
        np.testing.assert_array_equal(kept[:, 1:3], kept[:, 3:])  # of a padded basis 1, 2; the constant is alone


def test_what_one_layer_drops_says_nothing_of_another() -> None:
    ones = jnp.ones((1, 20_000, 1))  # one mode of so many cases
    with stochastic.at_hand(Stochastic(jax.random.key(0), 0.3)):
        first, second = (drop_modes(ones, name, (Basis("cosine", 1),)) > 0 for name in ("blocks.0", "blocks.1"))
    assert abs(float((first & second).mean()) - 0.7**2) < 5 * (0.49 * 0.51 / 20_000) ** 0.5


@pytest.mark.parametrize("remat", ["dots", "full"])
def test_what_is_computed_again_drops_the_same(x64: None, remat: str) -> None:
    bases = (Basis("fourier", 6),)
    a = jnp.asarray(np.random.default_rng(0).standard_normal((2, 8, 1)))
    grid = jax.tree.map(jnp.asarray, make_operands(Grid((Axis.uniform(8),)), bases, None, "float64"))

    def found(remat: str) -> tuple[jax.Array, dict[str, jax.Array]]:
        module = build_operator("fno", 1, 1, bases, {"width": 4, "depth": 1, "remat": remat}, nnx.Rngs(0))
        operator = functional(module, remat)  # type: ignore[arg-type]

        def loss(params: dict[str, jax.Array], key: jax.Array) -> jax.Array:
            with stochastic.at_hand(Stochastic(key, 0.3, 0.2)):
                return jnp.sum(operator.apply(params, a, grid) ** 2)

        def mean(params: dict[str, jax.Array]) -> jax.Array:  # several draws side by side
            return jnp.mean(jax.vmap(loss, (None, 0))(params, jax.random.split(jax.random.key(0), 2)))

        params = {key: jnp.asarray(value, float) for key, value in operator.params.items()}
        return jax.jit(jax.value_and_grad(mean))(params)  # type: ignore[no-any-return]

    (value, slopes), (again, others) = found("none"), found(remat)
    np.testing.assert_allclose(again, value, rtol=1e-12)
    for name, slope in slopes.items():
        np.testing.assert_allclose(others[name], slope, atol=1e-11 * float(jnp.abs(slope).max()))
