"""Normalisers: against closed forms, and what must not change them."""

import jax
import numpy as np
import pytest

from pnol_jax.data import CaseGroup, CaseSet, denormalise, fields, fit_normaliser, normalise
from pnol_jax.grids import Axis, Grid

RESOLUTION = 2**-23


def steady(*groups: tuple[Grid, np.ndarray, np.ndarray]) -> CaseSet:
    return CaseSet(tuple(CaseGroup(*group) for group in groups))


def test_waves_have_the_mean_and_spread_of_their_formula() -> None:
    grid = Grid((Axis.uniform(32), Axis.uniform(16, length=3.0)))
    x, y = np.meshgrid(*(axis.points / axis.length for axis in grid.axes), indexing="ij")
    amplitudes = np.array([1.0, 2.0, 5.0])[:, None, None]
    wave = amplitudes * np.sin(2 * np.pi * (2 * x + y))
    inputs = np.stack([3 + wave, 1e4 + 0.1 * wave], -1)
    norm = fit_normaliser(steady((grid, inputs, wave[..., None])))
    spread = np.sqrt(np.mean(amplitudes**2) / 2)
    np.testing.assert_allclose(norm["inputs.mean"], [3, 1e4], rtol=4 * RESOLUTION)
    # Rounding 1e4 + f to float32 adds noise of up to 1e4 * RESOLUTION to f, of size 0.1 * spread.
    np.testing.assert_allclose(norm["inputs.std"], [spread, 0.1 * spread], rtol=1e4 * RESOLUTION / (0.1 * spread))
    np.testing.assert_allclose(norm["outputs.std"], [spread], rtol=8 * RESOLUTION)


def test_cells_count_by_their_length() -> None:
    grid = Grid((Axis("bounded", 1.0, (0.0, 0.1, 0.2, 0.9)),))
    weights = grid.axes[0].weights()
    values = np.array([[0.0, 4.0, -2.0, 1.0]])
    norm = fit_normaliser(steady((grid, values[..., None], values[..., None])))
    mean = weights @ values[0]
    np.testing.assert_allclose(norm["inputs.mean"], [mean], rtol=RESOLUTION)
    np.testing.assert_allclose(norm["inputs.std"], [np.sqrt(weights @ (values[0] - mean) ** 2)], rtol=RESOLUTION)


def test_a_case_counts_the_same_on_a_coarse_and_a_fine_grid() -> None:
    def group(n: int, level: float) -> tuple[Grid, np.ndarray, np.ndarray]:
        grid = Grid((Axis.uniform(n),))
        wave = level + np.sin(2 * np.pi * grid.axes[0].points)[None, :, None]
        return grid, wave, wave

    coarse_and_fine = fit_normaliser(steady(group(8, 0.0), group(256, 2.0)))
    np.testing.assert_allclose(coarse_and_fine["inputs.mean"], [1.0], rtol=4 * RESOLUTION)
    np.testing.assert_allclose(coarse_and_fine["inputs.std"], [np.sqrt(1.5)], rtol=4 * RESOLUTION)


@pytest.mark.parametrize("size", [1, 64, 1000])
def test_the_pieces_in_which_it_is_read_do_not_matter(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    grid = Grid((Axis.uniform(16),))
    values = 1e3 + np.random.default_rng(0).standard_normal((37, 16, 2))
    cases = steady((grid, values, values))
    at_once = fit_normaliser(cases)
    pieces = fields.chunks
    monkeypatch.setattr(fields, "chunks", lambda field: pieces(field, size))
    for name, value in fit_normaliser(cases).items():
        np.testing.assert_allclose(value, at_once[name], rtol=RESOLUTION)


def test_a_constant_channel_is_left_at_unit_spread() -> None:
    grid = Grid((Axis.uniform(16),))
    values = np.random.default_rng(0).standard_normal((5, 16, 3)) * [1, 0, 1e-5] + [0, 0.1, 1e3]
    norm = fit_normaliser(steady((grid, values, values[..., :1])))
    assert norm["inputs.std"][0] != 1
    np.testing.assert_array_equal(norm["inputs.std"][1:], [1, 1])


def test_the_state_of_a_trajectory_comes_before_the_coefficients() -> None:
    grid = Grid((Axis.uniform(8),))
    rng = np.random.default_rng(0)
    group = CaseGroup(grid, 5 + rng.standard_normal((4, 8, 1)), 9 + 2 * rng.standard_normal((4, 6, 8, 2)))
    norm = fit_normaliser(CaseSet((group,), time_step=0.1))
    np.testing.assert_array_equal(norm["inputs.mean"][:2], norm["outputs.mean"])
    np.testing.assert_array_equal(norm["inputs.std"][:2], norm["outputs.std"])
    np.testing.assert_allclose(norm["inputs.mean"][2], group.inputs.mean(), rtol=4 * RESOLUTION)
    np.testing.assert_allclose(norm["outputs.std"], group.outputs.std((0, 1, 2), dtype=np.float64), rtol=RESOLUTION)


def test_denormalise_undoes_normalise_in_compiled_code() -> None:
    rng = np.random.default_rng(0)
    values = rng.standard_normal((3, 8, 2)).astype(np.float32)
    mean, std = np.array([1.0, -3.0], np.float32), np.array([2.0, 0.5], np.float32)
    back = jax.jit(lambda v: denormalise(normalise(v, mean, std), mean, std))(values)
    # One rounding each of difference, quotient, product and sum, of numbers below 8.
    np.testing.assert_allclose(back, values, atol=4 * 8 * RESOLUTION)
    inside = normalise(values, mean, std)
    np.testing.assert_allclose(inside, (values.astype(np.float64) - mean) / std, atol=8 * RESOLUTION)
