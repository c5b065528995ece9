"""The spectral convolution and the FNO block against plain formulas with `numpy.fft`, in float64."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy.special import erf

from pnol_jax.bases import Basis, GridOperands, make_operands
from pnol_jax.grids import Axis, Grid
from pnol_jax.operators import functional, wavenumbers
from pnol_jax.operators.fno import FNO
from pnol_jax.operators.layout import enter, leave
from pnol_jax.operators.spectral import SpectralConv

STEP = 1e-5
SIZES = [((24,), (10,)), ((13,), (9,)), ((16, 12), (8, 7)), ((9, 16), (8, 8)), ((9, 8, 10), (6, 5, 8))]


def setting(points: tuple[int, ...], modes: tuple[int, ...]) -> tuple[tuple[Basis, ...], GridOperands]:
    bases = tuple(Basis("fourier", m) for m in modes)
    grid = make_operands(Grid(tuple(Axis.uniform(n) for n in points)), bases, None, "float64")
    return bases, jax.tree.map(jnp.asarray, grid)


def by_fft(v: np.ndarray, kernel: np.ndarray, bias: np.ndarray, modes: tuple[int, ...]) -> np.ndarray:
    """The formula, mode by mode: v (batch, *space, in), kernel (*modes, in, 2, out)."""
    space = v.shape[1:-1]
    axes = tuple(range(1, v.ndim - 1))
    spectrum = np.fft.rfftn(v, axes=axes, norm="forward")
    mixed = np.zeros((*spectrum.shape[:-1], kernel.shape[-1]), complex)
    ranges = [list(enumerate(wavenumbers.signed(m))) for m in modes[:-1]] + [
        [(k, k) for k in range(modes[-1] // 2 + 1)]
    ]
    for chosen in itertools.product(*ranges):
        places, waves = zip(*chosen, strict=True)
        weight = kernel[places][:, 0] + 1j * kernel[places][:, 1]
        mixed[(slice(None), *waves)] = spectrum[(slice(None), *waves)] @ weight
    return np.asarray(np.fft.irfftn(mixed, space, axes=axes, norm="forward") + bias)


@pytest.mark.parametrize(("points", "modes"), SIZES)
def test_it_is_the_formula_with_every_mode_of_both_signs(
    x64: None, points: tuple[int, ...], modes: tuple[int, ...]
) -> None:
    bases, grid = setting(points, modes)
    layer = SpectralConv(2, 3, bases, rngs=nnx.Rngs(0))
    rng = np.random.default_rng(0)
    kernel, bias = rng.standard_normal(layer.kernel.shape), rng.standard_normal(3)
    assert kernel.shape == (*modes[:-1], modes[-1] // 2 + 1, 2, 2, 3)
    layer.kernel.set_value(jnp.asarray(kernel))
    layer.bias.set_value(jnp.asarray(bias))
    v = rng.standard_normal((2, *points, 2))
    found = leave(layer(enter(jnp.asarray(v), grid), grid), grid)
    np.testing.assert_allclose(found, by_fft(v, kernel, bias, modes), atol=1e-12 * math.prod(modes))


@pytest.mark.parametrize("position", [0, 1, 2])
@pytest.mark.parametrize("wave", ["sin", "cos"])
def test_the_highest_kept_wave_of_every_axis_passes(x64: None, position: int, wave: str) -> None:
    modes = (6, 8, 4)
    bases, grid = setting((11, 12, 9), modes)
    layer = SpectralConv(1, 1, bases, rngs=nnx.Rngs(0))
    identity = np.zeros(layer.kernel.shape)
    identity[..., 0, :] = 1
    layer.kernel.set_value(jnp.asarray(identity))
    layer.bias.set_value(jnp.zeros(1))
    highest = modes[position] // 2 if position == 2 else (modes[position] - 1) // 2
    n = (11, 12, 9)[position]
    shape = [1] * 5
    shape[position + 1] = n
    line = getattr(np, wave)(2 * np.pi * highest * np.arange(n) / n).reshape(shape)
    v = np.broadcast_to(line, (1, 11, 12, 9, 1))
    found = leave(layer(enter(jnp.asarray(v), grid), grid), grid)
    np.testing.assert_allclose(found, v, atol=1e-12)


@pytest.mark.parametrize(("points", "modes"), SIZES[::2])
def test_the_gradient_is_that_of_finite_differences(x64: None, points: tuple[int, ...], modes: tuple[int, ...]) -> None:
    """Central differences along random directions of all weights, real and imaginary, and of the field."""
    bases, grid = setting(points, modes)
    operator = functional(SpectralConv(2, 2, bases, rngs=nnx.Rngs(0)))
    rng = np.random.default_rng(1)
    v = jnp.asarray(rng.standard_normal((*points, 3, 2)))

    @jax.jit
    def loss(params: dict[str, jax.Array], v: jax.Array) -> jax.Array:
        return jnp.sum(jnp.sin(operator.apply(params, v, grid)))

    params = {name: jnp.asarray(rng.standard_normal(value.shape)) for name, value in operator.params.items()}
    gradients = jax.grad(loss, (0, 1))(params, v)
    for seed in range(3):
        draw = np.random.default_rng(seed)
        along = jax.tree.map(lambda leaf, draw=draw: jnp.asarray(draw.standard_normal(leaf.shape)), (params, v))
        ahead, behind = (
            loss(*jax.tree.map(lambda leaf, d, s=s: leaf + s * d, (params, v), along)) for s in (STEP, -STEP)
        )
        pairs = zip(jax.tree.leaves(gradients), jax.tree.leaves(along), strict=True)
        slope = sum(float(jnp.vdot(gradient, direction)) for gradient, direction in pairs)
        np.testing.assert_allclose(slope, (ahead - behind) / (2 * STEP), rtol=1e-6)
    tangent = jax.jvp(loss, (params, v), along)[1]
    np.testing.assert_allclose(tangent, slope, rtol=1e-10)


def gelu(x: np.ndarray) -> np.ndarray:
    return np.asarray(0.5 * x * (1 + erf(x / np.sqrt(2))))


def group_norm(v: np.ndarray) -> np.ndarray:
    axes = tuple(range(1, v.ndim))
    return np.asarray((v - v.mean(axes, keepdims=True)) / np.sqrt(v.var(axes, keepdims=True) + 1e-5))


@pytest.mark.parametrize("norm", ["none", "group"])
@pytest.mark.parametrize(("points", "modes"), [SIZES[0], SIZES[2], SIZES[4]])
def test_the_fno_is_neuraloperators(x64: None, points: tuple[int, ...], modes: tuple[int, ...], norm: str) -> None:
    """u = gelu(norm(K v + b) + S v); v' = gelu(norm(W gelu(W u + b) + b + g v)); no last gelu (neuraloperator 2.0)."""
    bases, grid = setting(points, modes)
    operator = functional(FNO(1, 2, bases, width=6, depth=3, norm=norm, rngs=nnx.Rngs(0)))  # type: ignore[arg-type]
    rng = np.random.default_rng(0)
    p = {name: rng.standard_normal(value.shape) / value.shape[-1] for name, value in operator.params.items()}
    scales = {name: np.ones_like(value) for name, value in p.items() if name.endswith("scale")}
    p |= scales | {name: np.zeros_like(value) for name, value in p.items() if name.endswith("shift")}
    a = rng.standard_normal((2, *points, 1))
    normal = group_norm if norm == "group" else lambda v: v

    def mlp(v: np.ndarray, name: str) -> np.ndarray:
        hidden = gelu(v @ p[f"{name}.first.kernel"] + p[f"{name}.first.bias"])
        return np.asarray(hidden @ p[f"{name}.second.kernel"] + p[f"{name}.second.bias"])

    x = np.stack(np.meshgrid(*(np.arange(n) / n for n in points), indexing="ij"), axis=-1)
    v = np.concatenate([a, np.broadcast_to(x, (2, *x.shape))], axis=-1)
    v = gelu(v @ p["lifting.kernel"] + p["lifting.bias"])
    v = v @ p["lifting.second.kernel"] + p["lifting.second.bias"]
    for block in range(3):
        name = f"blocks.{block}"
        transformed = by_fft(v, p[f"{name}.spectral.kernel"], p[f"{name}.spectral.bias"], modes)
        u = normal(transformed) + v @ p[f"{name}.skip.linear.kernel"]
        u = u if block == 2 else gelu(u)
        v = normal(mlp(u, f"{name}.mlp") + p[f"{name}.mlp_skip.gate"] * v)
        v = v if block == 2 else gelu(v)
    expected = mlp(v, "projection")
    weights = {name: jnp.asarray(value) for name, value in p.items()}
    found = jax.jit(operator.apply)(weights, jnp.asarray(a), grid)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())
