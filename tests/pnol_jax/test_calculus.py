"""Integrals and derivatives by operands, against closed forms in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pnol_jax.bases import Basis, GridOperands, make_operands, stack_operands
from pnol_jax.calculus import derivative, integral
from pnol_jax.grids import Axis, Grid


def operands(axes: tuple[Axis, ...], bases: tuple[Basis, ...], bucket: tuple[int, ...] | None = None) -> GridOperands:
    made: GridOperands = jax.tree.map(jnp.asarray, make_operands(Grid(axes), bases, bucket, "float64"))
    return made


def test_integrals_of_trigonometric_functions_are_exact(x64: None) -> None:
    axes = (Axis.uniform(12, length=2.0), Axis.uniform(10, length=3.0))
    grid = operands(axes, (Basis("fourier", 4), Basis("fourier", 4)), (16, 10))
    x, y = np.meshgrid(*(axis.points for axis in axes), indexing="ij")
    field = 0.5 + np.cos(2 * np.pi * x / 2.0) ** 2 * np.sin(2 * np.pi * y / 3.0) ** 2
    padded = np.pad(field, [(0, 4), (0, 0)], constant_values=np.nan)[None, :, :, None]
    np.testing.assert_allclose(integral(jnp.asarray(padded), grid), [[6.0 * 0.75]], rtol=1e-12)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_derivatives_of_every_kept_wave_are_exact(x64: None, axis: int) -> None:
    axes = (Axis.uniform(11, length=2.0), Axis.uniform(13, length=3.0), Axis.uniform(9, length=1.0))
    bases = (Basis("fourier", 8), Basis("fourier", 12), Basis("fourier", 6))
    grid = operands(axes, bases)
    x = axes[axis].points
    for wave in range(bases[axis].modes // 2 + 1):
        k = 2 * np.pi * wave / axes[axis].length
        line, slope = np.sin(k * x) + np.cos(k * x), k * (np.cos(k * x) - np.sin(k * x))
        shape = [1] * 5
        shape[axis + 1] = -1
        field = jnp.asarray(np.broadcast_to(line.reshape(shape), (2, 11, 13, 9, 1)))
        exact = np.broadcast_to(slope.reshape(shape), field.shape)
        np.testing.assert_allclose(derivative(field, grid, axis), exact, atol=1e-10 * max(1, k))


def test_the_derivative_of_a_cosine_series(x64: None) -> None:
    axis = Axis.uniform(20, "bounded", 2.0, "centre")
    grid = operands((axis,), (Basis("cosine", 12),))
    x = axis.points
    field = np.cos(11 * np.pi * x / 2)[None, :, None]
    exact = -11 * np.pi / 2 * np.sin(11 * np.pi * x / 2)
    np.testing.assert_allclose(derivative(jnp.asarray(field), grid, 0)[0, :, 0], exact, atol=1e-10)


def test_the_derivative_of_a_function_that_is_not_periodic(x64: None) -> None:
    """exp(x) is not in the padded basis; its projection is close, and so is its slope away from the rounding."""
    axis = Axis.uniform(60, "bounded", 1.0, "both")
    grid = operands((axis,), (Basis("padded", 16, 2.0, 1e-12),))
    x = axis.points
    slope = derivative(jnp.asarray(np.exp(x)[None, :, None]), grid, 0)[0, :, 0]
    assert float(jnp.max(jnp.abs(slope - np.exp(x))[5:-5])) < 1e-3


def test_derivatives_per_case_are_those_of_each_grid(x64: None) -> None:
    bases = (Basis("fourier", 6),)
    parts, fields, slopes = [], [], []
    for n in (9, 12):
        axis = Axis.uniform(n)
        parts.append(operands((axis,), bases, (12,)))
        angle = 2 * np.pi * 2 * axis.points
        fields.append(np.pad(np.sin(angle), (0, 12 - n)))
        slopes.append(np.pad(4 * np.pi * np.cos(angle), (0, 12 - n)))
    found = derivative(jnp.asarray(np.stack(fields))[..., None], stack_operands(parts), 0)[..., 0]
    np.testing.assert_allclose(found, np.stack(slopes), atol=1e-10)
