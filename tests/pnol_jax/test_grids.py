"""Axes and grids: where points sit, what their weights add up to, what is refused."""

import numpy as np
import pytest

from pnol_jax.errors import InputError
from pnol_jax.grids import Axis, Grid


def test_placements_are_where_they_say() -> None:
    np.testing.assert_allclose(Axis.uniform(4, "bounded", 2.0, "left").points, [0, 0.5, 1, 1.5])
    np.testing.assert_allclose(Axis.uniform(5, "bounded", 2.0, "both").points, [0, 0.5, 1, 1.5, 2])
    np.testing.assert_allclose(Axis.uniform(3, "bounded", 2.0, "neither").points, [0.5, 1, 1.5])
    np.testing.assert_allclose(Axis.uniform(4, "bounded", 2.0, "centre").points, [0.25, 0.75, 1.25, 1.75])


@pytest.mark.parametrize("kind", ["periodic", "bounded"])
def test_weights_add_up_to_the_length_wherever_the_points_sit(kind: str) -> None:
    points = np.sort(np.random.default_rng(0).uniform(0, 2.5, 20))
    weights = Axis(kind, 2.5, tuple(points.tolist())).weights()  # type: ignore[arg-type]
    assert np.all(weights > 0)
    np.testing.assert_allclose(weights.sum(), 2.5, rtol=1e-14)


def test_weights_of_uniform_points_are_the_classical_rules() -> None:
    np.testing.assert_allclose(Axis.uniform(4, "periodic").weights(), 0.25)
    np.testing.assert_allclose(Axis.uniform(4, "bounded", 1.0, "centre").weights(), 0.25)
    np.testing.assert_allclose(Axis.uniform(5, "bounded", 1.0, "both").weights(), [0.125, 0.25, 0.25, 0.25, 0.125])


def test_weights_of_a_grid_add_up_to_its_volume() -> None:
    grid = Grid((Axis.uniform(5, "periodic", 2.0), Axis.uniform(4, "bounded", 3.0, "both"), Axis.uniform(3)))
    assert grid.weights().shape == grid.shape == (5, 4, 3)
    np.testing.assert_allclose(grid.weights().sum(), 6.0)


def test_grids_have_one_digest_exactly_if_they_are_equal() -> None:
    one = Grid((Axis.uniform(5),))
    assert one.digest == Grid((Axis.uniform(5),)).digest
    others = [
        Axis.uniform(6),
        Axis.uniform(5, "bounded"),
        Axis.uniform(5, length=2.0),
        Axis.uniform(5, placement="centre"),
    ]
    assert len({Grid((axis,)).digest for axis in others} | {one.digest}) == 5


@pytest.mark.parametrize(
    ("points", "kind", "length", "message"),
    [
        ((0.0,), "periodic", 1.0, "got 1 points, expected at least 2"),
        ((0.0, 0.5, 0.4), "bounded", 1.0, r"got 0.4 after 0.5 \(point 2\), expected them increasing"),
        ((0.0, float("nan")), "bounded", 1.0, "all of them finite"),
        ((0.0, 1.5), "bounded", 1.0, r"expected them inside \[0, 1\]"),
        ((0.0, 0.5, 1.0), "periodic", 1.0, "the same point stands twice"),
        ((0.0, 0.5), "bounded", -1.0, "got -1.0, expected a positive number"),
        ((0.0, 0.5), "open", 1.0, "got 'open', expected 'periodic' or 'bounded'"),
    ],
)
def test_axes_that_are_none_are_refused(points: tuple[float, ...], kind: str, length: float, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Axis(kind, length, points)  # type: ignore[arg-type]


def test_four_axes_and_a_periodic_axis_with_both_ends_are_refused() -> None:
    with pytest.raises(InputError, match="got 4 axes, expected 1 to 3"):
        Grid((Axis.uniform(3),) * 4)
    with pytest.raises(InputError, match="expected 'left' or 'centre'"):
        Axis.uniform(5, "periodic", placement="both")
