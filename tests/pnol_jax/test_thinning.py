"""Thinning: fewer points of the same functions, with the operands of exactly those points."""

import numpy as np
import pytest

from pnol_jax.bases import Basis, make_operands
from pnol_jax.data import CaseGroup, CaseSet, Pipeline
from pnol_jax.data.thinning import Thinning, thin, thin_grid
from pnol_jax.errors import InputError
from pnol_jax.grids import Axis, Grid

BASES = (Basis("padded", 5), Basis("fourier", 4))


def grid(n: int = 12, m: int = 9) -> Grid:
    return Grid((Axis.uniform(n, "bounded", 2.0, "centre"), Axis.uniform(m, "periodic", 1.0)))


def cases(*grids: Grid) -> CaseSet:
    """Inputs x + 10 y and outputs case x y, at every point."""
    groups = []
    for one in grids:
        x, y = np.meshgrid(*(axis.points for axis in one.axes), indexing="ij")
        number = np.arange(1, 9)[:, None, None]
        inputs, outputs = np.broadcast_to(x + 10 * y, (8, *one.shape)), number * x * y
        groups.append(CaseGroup(one, inputs[..., None].astype(np.float32), outputs[..., None].astype(np.float32)))
    return CaseSet(tuple(groups))


def test_the_fields_are_the_functions_at_the_points_that_the_operands_name() -> None:
    shapes = set()
    with Pipeline(cases(grid()), 4, BASES, thinning=0.3) as pipeline:
        for _ in range(20):
            batch = next(pipeline)
            x, y = (np.asarray(axis.points, np.float64) for axis in batch.grid.axes)
            mask = np.asarray(batch.grid.mask())
            assert batch.inputs.shape == (4, 12, 9, 1)
            np.testing.assert_allclose(
                batch.inputs[..., 0], np.broadcast_to((2 * x[:, None] + 10 * y) * mask, (4, 12, 9)), atol=1e-5
            )
            np.testing.assert_allclose(
                batch.outputs[..., 0], (batch.cases[:, None, None] + 1) * 2 * x[:, None] * y * mask, atol=1e-4
            )
            np.testing.assert_allclose(np.asarray(batch.grid.weights()).sum(), 2.0, rtol=1e-5)
            shapes.add(tuple(int(axis.mask.sum()) for axis in batch.grid.axes))
    assert {n for n, _ in shapes} == {9, 10, 11, 12}
    assert {m for _, m in shapes} == {7, 8, 9}


def test_grids_of_one_bucket_are_thinned_each_by_itself() -> None:
    both = cases(grid(), grid(10, 8))
    with Pipeline(both, 8, BASES, [(12, 9)], thinning=0.2) as pipeline:
        for batch in (next(pipeline) for _ in range(6)):
            assert batch.grid.batched
            x, y = (np.asarray(axis.points, np.float64) for axis in batch.grid.axes)
            expected = (2 * x[:, :, None] + 10 * y[:, None, :]) * np.asarray(batch.grid.mask())
            np.testing.assert_allclose(batch.inputs[..., 0], expected, atol=1e-5)


def test_every_process_leaves_out_the_same_points() -> None:
    def draw(start: int, stop: int) -> list[tuple[int, ...]]:
        with Pipeline(cases(grid()), 4, BASES, thinning=0.3, rows=slice(start, stop)) as pipeline:
            return [tuple(next(pipeline).grid.axes[0].points.tolist()) for _ in range(5)]

    assert draw(0, 4) == draw(0, 2) == draw(2, 4)
    assert len(set(draw(0, 4))) > 1


def test_without_thinning_nothing_changes() -> None:
    thinning = Thinning(0.05, BASES)  # less than one of 12 points
    keep = thinning.draw(grid(), 7)
    assert thin_grid(grid(), keep) == grid()
    assert thinning.operands([grid()], (12, 9), batched=False) is make_operands(grid(), BASES, (12, 9), "float32")


def test_trajectories_lose_the_same_points_at_all_times() -> None:
    field = np.arange(2 * 3 * 12 * 9 * 1, dtype=np.float32).reshape(2, 3, 12, 9, 1)
    keep = (np.array([0, 5, 11]), np.array([2, 3]))
    np.testing.assert_array_equal(thin(field, keep), field[:, :, keep[0]][:, :, :, keep[1]])


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(InputError, match=r"data\.thinning: got .* expected a share"):
        Pipeline(cases(grid()), 4, BASES, thinning=share)


def test_too_few_points_for_the_modes_are_refused() -> None:
    with pytest.raises(InputError, match=r"leaves 4 of 9 points on axis 1, where 4 modes \(fourier\) need at least 5"):
        Pipeline(cases(grid()), 4, BASES, thinning=0.56)
