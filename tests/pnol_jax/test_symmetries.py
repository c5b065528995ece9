"""Symmetries: each is a group of maps of points onto points, and is refused where it is not."""

import numpy as np
import pytest

from pnol_jax.data.augmentation import Augmentation
from pnol_jax.data.bits import again, random_bits
from pnol_jax.data.symmetries import SYMMETRIES
from pnol_jax.errors import InputError
from pnol_jax.grids import Axis, Grid

PERIODIC = Axis.uniform(6, length=2.0)
CENTRES = Axis.uniform(7, "bounded", 1.0, "centre")
INTERIOR = Axis("bounded", 1.0, tuple(i / 8 for i in range(1, 8)))
ENDLESS = Axis.uniform(8, "bounded", 1.0, "left")
NAMES = list(SYMMETRIES)
GRIDS = {
    "1-D periodic": Grid((PERIODIC,)),
    "2-D periodic": Grid((PERIODIC, PERIODIC)),
    "interior of the square": Grid((INTERIOR, INTERIOR)),
    "mixed": Grid((PERIODIC, CENTRES)),
    "3-D": Grid((Axis.uniform(3), CENTRES, Axis.uniform(4))),
}
SIZES = {  # how many different maps each symmetry has on each grid, 0 where it is none
    "shift": {"1-D periodic": 6, "2-D periodic": 36, "interior of the square": 0, "mixed": 6, "3-D": 12},
    "flip": {"1-D periodic": 2, "2-D periodic": 4, "interior of the square": 4, "mixed": 4, "3-D": 8},
    "square": {"1-D periodic": 0, "2-D periodic": 8, "interior of the square": 8, "mixed": 0, "3-D": 0},
    "sign": dict.fromkeys(GRIDS, 2),
    "odd": dict.fromkeys(GRIDS, 2),
}
PAIRS = [(name, grid) for name in NAMES for grid in GRIDS]


def bits(count: int) -> np.ndarray:
    return random_bits(0, 0, np.arange(count))


def elements(name: str, grid: Grid, draws: int = 600) -> np.ndarray:
    """The different maps drawn, as (points,) of sign * (source + 1)."""
    numbers = np.arange(1, 1 + np.prod(grid.shape), dtype=np.float32).reshape(1, *grid.shape, 1)
    field = np.repeat(numbers, draws, 0)
    moved, _ = Augmentation([name], grid)(field, field, bits(draws))
    return np.unique(moved.reshape(draws, -1), axis=0)


@pytest.mark.parametrize(("name", "grid"), PAIRS)
def test_all_its_elements_are_drawn_and_no_others(name: str, grid: str) -> None:
    if not SIZES[name][grid]:
        with pytest.raises(InputError, match=r"data\.symmetries\[0\]"):
            Augmentation([name], GRIDS[grid])
    else:
        assert len(elements(name, GRIDS[grid])) == SIZES[name][grid]


@pytest.mark.parametrize(("name", "grid"), [pair for pair in PAIRS if SIZES[pair[0]][pair[1]]])
def test_its_elements_are_a_group(name: str, grid: str) -> None:
    maps = elements(name, GRIDS[grid])
    known = {tuple(row) for row in maps}
    for first in maps:
        assert sorted(np.abs(first)) == list(range(1, first.size + 1))
        for second in maps:
            source = np.abs(second).astype(int) - 1
            assert tuple(np.sign(second) * first[source]) in known


@pytest.mark.parametrize("axis", [PERIODIC, CENTRES, INTERIOR, Axis.uniform(5, "bounded", 3.0, "both")])
def test_a_flip_is_the_function_at_the_reflected_point(axis: Axis) -> None:
    def function(x: np.ndarray) -> np.ndarray:
        wave = np.sin(2 * np.pi * x / axis.length) + np.cos(4 * np.pi * x / axis.length)
        return wave if axis.kind == "periodic" else wave + x**2

    field = np.repeat(function(axis.points)[None, :, None], 64, 0).astype(np.float32)
    moved, _ = Augmentation(["flip"], Grid((axis,)))(field, field, bits(64))
    reflected = function(axis.length - axis.points).astype(np.float32)[:, None]
    flipped = [not np.array_equal(case, field[0]) for case in moved]
    assert 16 < sum(flipped) < 48
    for case in moved[flipped]:
        np.testing.assert_allclose(case, reflected, atol=1e-5)


@pytest.mark.parametrize("name", ["flip", "square", "odd"])
def test_points_that_a_reflection_does_not_meet_are_named(name: str) -> None:
    with pytest.raises(InputError, match=r"takes the point 0 to 1, which is not a point of the grid .*data\.select"):
        Augmentation([name], Grid((ENDLESS, ENDLESS)))


def test_a_square_needs_equal_axes() -> None:
    with pytest.raises(InputError, match="'square' needs two equal axes"):
        Augmentation(["square"], Grid((PERIODIC, Axis.uniform(6, length=1.0))))


def test_a_shift_needs_uniform_points() -> None:
    with pytest.raises(InputError, match="'shift' needs uniform points"):
        Augmentation(["shift"], Grid((Axis("periodic", 1.0, (0.0, 0.1, 0.5)),)))


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(InputError, match=r"data\.symmetries\[1\]: got 'turn', expected one of \['shift'"):
        Augmentation(["shift", "turn"], GRIDS["1-D periodic"])


def test_inputs_and_all_times_of_the_outputs_go_the_same_way() -> None:
    grid = GRIDS["2-D periodic"]
    rng = np.random.default_rng(0)
    u = rng.standard_normal((20, 3, 6, 6, 2)).astype(np.float32)
    moved, unrolled = Augmentation(["shift", "square", "sign"], grid)(u[:, 0], u, bits(20))
    np.testing.assert_array_equal(moved, unrolled[:, 0])
    np.testing.assert_array_equal(np.sort(np.abs(u), axis=None), np.sort(np.abs(unrolled), axis=None))
    each, _ = Augmentation(["shift", "square", "sign"], grid)(u[:, 2], u[:, 2], bits(20))
    np.testing.assert_array_equal(each, unrolled[:, 2])


def test_a_case_moves_alike_in_any_batch() -> None:
    grid = GRIDS["interior of the square"]
    field = np.random.default_rng(0).standard_normal((12, 7, 7, 1)).astype(np.float32)
    augment = Augmentation(["square", "odd"], grid)
    together, _ = augment(field, field, bits(12))
    apart = [augment(field[i : i + 3], field[i : i + 3], bits(12)[i : i + 3])[0] for i in range(0, 12, 3)]
    np.testing.assert_array_equal(together, np.concatenate(apart))


def test_fields_without_channels_stay_as_they_are() -> None:
    grid = GRIDS["1-D periodic"]
    none, some = np.zeros((4, 6, 0), np.float32), np.ones((4, 6, 1), np.float32)
    inputs, _ = Augmentation(["shift", "sign"], grid)(none, some, bits(4))
    assert inputs.shape == none.shape


def test_random_bits_are_uniform_and_independent_between_seeds_streams_and_neighbours() -> None:
    n = 4096
    draws = [random_bits(seed, stream, np.arange(n)) for seed in (0, 1) for stream in (0, 1)]
    draws += [again(draws[0], 0), again(draws[0], 1), np.roll(draws[0], 1)]
    signs = np.stack([2.0 * ((draw >> np.uint64(b)) & np.uint64(1)) - 1 for draw in draws for b in (0, 1, 31, 63)])
    # Means and correlations of n fair coins stay within 5 standard deviations of zero.
    assert np.abs(signs.mean(1)).max() < 5 / np.sqrt(n)
    assert np.abs(signs @ signs.T / n - np.eye(len(signs))).max() < 5 / np.sqrt(n)
