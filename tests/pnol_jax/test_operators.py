"""What every operator keeps to: the same function on every grid, in every bucket, for every case by itself."""

import jax
import jax.numpy as jnp
import msgspec
import numpy as np
import pytest
from flax import nnx

from pnol_jax.bases import Basis, GridOperands, make_operands, stack_operands
from pnol_jax.config import DeepONetConfig, FFNOConfig, FNOConfig, SpectralConfig, TransolverConfig, UNOConfig
from pnol_jax.grids import Axis, Grid
from pnol_jax.operators import Functional, build_operator, functional
from pnol_jax.operators.table import OPERATORS
from pnol_jax.operators.uno import halved, narrowed
from tests.operators import OPTIONS

BASES = {
    1: (Basis("fourier", 6),),
    2: (Basis("fourier", 6), Basis("padded", 5)),
    3: (Basis("cosine", 4), Basis("fourier", 4), Basis("fourier", 6)),
}
KINDS = [("fno", 1), ("fno", 2), ("fno", 3), ("ffno", 2), ("deeponet", 2), ("uno", 1), ("uno", 3), ("transolver", 2)]


def test_every_operator_is_here() -> None:
    assert OPTIONS.keys() == OPERATORS.keys() == {name for name, _ in KINDS}


def axes(ndim: int, n: int) -> tuple[Axis, ...]:
    bounded = {"padded", "cosine"}
    return tuple(
        Axis.uniform(n + i, "bounded", 2.0, "centre") if basis.kind in bounded else Axis.uniform(n + i, length=2.0)
        for i, basis in enumerate(BASES[ndim])
    )


def operands(ndim: int, n: int, bucket: tuple[int, ...] | None = None) -> GridOperands:
    return jax.tree.map(jnp.asarray, make_operands(Grid(axes(ndim, n)), BASES[ndim], bucket, "float64"))  # type: ignore[no-any-return]


def make(name: str, ndim: int, **options: object) -> Functional:
    operator = functional(build_operator(name, 2, 3, BASES[ndim], OPTIONS[name] | options, nnx.Rngs(0)))
    double = {key: jnp.asarray(value, jnp.float64) for key, value in operator.params.items()}
    return operator._replace(params=double, apply=jax.jit(operator.apply))


def field(ndim: int, n: int, cases: int = 4) -> jax.Array:
    shape = tuple(axis.n for axis in axes(ndim, n))
    return jnp.asarray(np.random.default_rng(0).standard_normal((cases, *shape, 2)))


@pytest.mark.parametrize(("name", "ndim"), KINDS)
def test_shapes_and_that_cases_do_not_see_each_other(x64: None, name: str, ndim: int) -> None:
    operator, a, grid = make(name, ndim), field(ndim, 8), operands(ndim, 8)
    u = operator.apply(operator.params, a, grid)
    assert u.shape == (*a.shape[:-1], 3)
    order = jnp.asarray([2, 0, 3, 1])
    np.testing.assert_allclose(operator.apply(operator.params, a[order], grid), u[order], atol=1e-12)
    np.testing.assert_allclose(operator.apply(operator.params, a[:1], grid), u[:1], atol=1e-12)
    each = jax.vmap(lambda one: operator.apply(operator.params, one[None], grid)[0])(a)
    np.testing.assert_allclose(each, u, atol=1e-12)


@pytest.mark.parametrize(("name", "ndim"), KINDS)
def test_padding_into_a_bucket_changes_nothing(x64: None, name: str, ndim: int) -> None:
    operator, a = make(name, ndim), field(ndim, 8)
    shape = a.shape[1:-1]
    bucket = tuple(n + 3 for n in shape)
    padded = jnp.pad(a, [(0, 0), *[(0, 3)] * ndim, (0, 0)], constant_values=7.0)
    inside = (slice(None), *(slice(n) for n in shape))
    expected = operator.apply(operator.params, a, operands(ndim, 8))
    found = operator.apply(operator.params, padded, operands(ndim, 8, bucket))[inside]
    np.testing.assert_allclose(found, expected, atol=1e-11)


@pytest.mark.parametrize(("name", "ndim"), KINDS)
def test_cases_on_different_grids_share_a_batch(x64: None, name: str, ndim: int) -> None:
    operator = make(name, ndim)
    sizes = (8, 10, 9)
    bucket = tuple(axis.n for axis in axes(ndim, 11))
    fields, grids, expected = [], [], []
    for n in sizes:
        a = field(ndim, n, 1)
        expected.append(operator.apply(operator.params, a, operands(ndim, n))[0])
        room = [(0, b - s) for b, s in zip(bucket, a.shape[1:-1], strict=True)]
        fields.append(jnp.pad(a[0], [*room, (0, 0)], constant_values=5.0))
        grids.append(operands(ndim, n, bucket))
    found = operator.apply(operator.params, jnp.stack(fields), stack_operands(grids))
    for case, alone in zip(found, expected, strict=True):
        inside = tuple(slice(n) for n in alone.shape[:-1])
        np.testing.assert_allclose(case[inside], alone, atol=1e-11)


@pytest.mark.parametrize("name", OPERATORS)
def test_a_resolved_function_has_the_same_answer_on_a_finer_grid(x64: None, name: str) -> None:
    bases = (Basis("fourier", 6),)
    smooth = {} if name == "deeponet" else {"coordinates": False}  # which jump where a period ends
    operator = functional(build_operator(name, 1, 1, bases, OPTIONS[name] | smooth, nnx.Rngs(0)))
    answers = []
    for n in (64, 128):
        x = np.arange(n) / n
        a = jnp.asarray(np.cos(2 * np.pi * x) + np.sin(4 * np.pi * x))[None, :, None]
        grid = jax.tree.map(jnp.asarray, make_operands(Grid((Axis.uniform(n),)), bases, None, "float64"))
        answers.append(operator.apply(operator.params, a, grid)[0, :, 0])
    scale = float(jnp.abs(answers[0]).max())
    # a GELU of a smooth function has a spectrum that falls fast: what 64 points alias is far below this
    np.testing.assert_allclose(answers[1][::2], answers[0], atol=1e-5 * scale)


def test_wherever_the_points_sit_attention_is_that_over_dense_ones_to_second_order(x64: None) -> None:
    bases = (Basis("cosine", 5),)
    operator = functional(build_operator("transolver", 1, 1, bases, OPTIONS["transolver"], nnx.Rngs(0)))
    apply = jax.jit(operator.apply)

    def answer(x: np.ndarray) -> np.ndarray:
        grid = make_operands(Grid((Axis("bounded", 1.0, tuple(x.tolist())),)), bases, None, "float64")
        a = jnp.asarray(np.cos(np.pi * x) + np.cos(2 * np.pi * x))[None, :, None]
        return np.asarray(apply(operator.params, a, grid)[0, :, 0])

    coarse, fine = (np.linspace(0, 1, n) ** 2 for n in (17, 33))  # crowded at 0
    dense = answer(np.linspace(0, 1, 1025))
    off = [np.abs(answer(x) - dense[np.rint(1024 * x).astype(int)]).max() / np.abs(dense).max() for x in (coarse, fine)]
    assert off[1] < off[0] / 3  # a fourth, but for higher orders


@pytest.mark.parametrize("modes", [5, 6])
def test_operands_with_fewer_modes_are_those_that_the_grid_would_have_for_them(modes: int) -> None:
    bases = tuple(Basis(kind, modes) for kind in ("fourier", "padded", "cosine"))
    bounded = Axis.uniform(9, "bounded", 2.0, "centre")
    grid, fewer = Grid((Axis.uniform(8, length=2.0), bounded, bounded)), halved(bases, 1)
    found = narrowed(make_operands(grid, bases, None, "float64"), bases, fewer)
    for axis, expected in zip(found.axes, make_operands(grid, fewer, None, "float64").axes, strict=True):
        np.testing.assert_allclose(axis.analysis, expected.analysis, atol=1e-14)
        np.testing.assert_allclose(axis.synthesis, expected.synthesis, atol=1e-14)


@pytest.mark.parametrize("name", ["fno", "ffno"])
def test_without_coordinates_a_shift_of_the_input_shifts_the_output(x64: None, name: str) -> None:
    bases = (Basis("fourier", 6), Basis("fourier", 4))
    operator = functional(build_operator(name, 2, 1, bases, OPTIONS[name] | {"coordinates": False}, nnx.Rngs(0)))
    grid = jax.tree.map(jnp.asarray, make_operands(Grid((Axis.uniform(9), Axis.uniform(8))), bases, None, "float64"))
    a = jnp.asarray(np.random.default_rng(0).standard_normal((2, 9, 8, 2)))
    u = operator.apply(operator.params, a, grid)
    moved = operator.apply(operator.params, jnp.roll(a, (2, 3), (1, 2)), grid)
    np.testing.assert_allclose(moved, jnp.roll(u, (2, 3), (1, 2)), atol=1e-6)


@pytest.mark.parametrize(("name", "ndim"), KINDS)
def test_gradients_reach_every_parameter_and_agree_with_forward_mode(x64: None, name: str, ndim: int) -> None:
    operator, a, grid = make(name, ndim), field(ndim, 8), operands(ndim, 8)

    def loss(params: dict[str, jax.Array]) -> jax.Array:
        return jnp.sum(jnp.sin(3 * operator.apply(params, a, grid)))

    gradient = jax.jit(jax.grad(loss))(operator.params)
    assert all(float(jnp.abs(leaf).max()) > 0 for leaf in gradient.values()), gradient.keys()
    rng = np.random.default_rng(0)
    along = {key: jnp.asarray(rng.standard_normal(value.shape)) for key, value in operator.params.items()}
    tangent = jax.jit(lambda p, d: jax.jvp(loss, (p,), (d,))[1])(operator.params, along)
    np.testing.assert_allclose(tangent, sum(jnp.vdot(gradient[key], along[key]) for key in along), rtol=1e-8)


@pytest.mark.parametrize(("name", "ndim"), KINDS)
def test_every_parameter_has_a_dotted_name_and_a_name_for_each_axis(name: str, ndim: int) -> None:
    operator = functional(build_operator(name, 2, 3, BASES[ndim], OPTIONS[name], nnx.Rngs(0)))
    assert operator.params.keys() == operator.axes.keys()
    for key, value in operator.params.items():
        assert all(key.split("."))
        assert len(operator.axes[key]) == value.ndim, key
        assert not jnp.iscomplexobj(value)


CONFIGS = (FNOConfig, FFNOConfig, DeepONetConfig, UNOConfig, TransolverConfig)


@pytest.mark.parametrize("config", [section([6]) for section in CONFIGS])
def test_every_operator_builds_from_its_section_of_the_config(config: SpectralConfig) -> None:
    options = {
        key: value
        for key, value in msgspec.structs.asdict(config).items()
        if key not in SpectralConfig.__struct_fields__
    }
    build_operator(str(type(config).__struct_config__.tag), 1, 1, BASES[1], options, nnx.Rngs(0))


@pytest.mark.parametrize("norm", ["instance", "group", "layer"])
def test_a_normalised_operator_keeps_to_padding_too(x64: None, norm: str) -> None:
    operator, a = make("fno", 2, norm=norm), field(2, 8)
    expected = operator.apply(operator.params, a, operands(2, 8))
    padded = jnp.pad(a, [(0, 0), (0, 2), (0, 3), (0, 0)], constant_values=9.0)
    found = operator.apply(operator.params, padded, operands(2, 8, (10, 12)))
    np.testing.assert_allclose(found[:, :8, :9], expected, atol=1e-11)
