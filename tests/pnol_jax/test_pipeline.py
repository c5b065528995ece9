"""The pipeline: which samples come when, that nothing about processes or prefetching changes it, and its position."""

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np
import pytest

from pnol_jax.bases import Basis, make_operands
from pnol_jax.data import CaseGroup, CaseSet, HostBatch, Pipeline, evaluation_batches
from pnol_jax.data.order import Order
from pnol_jax.errors import InputError
from pnol_jax.grids import Axis, Grid

BASES = (Basis("fourier", 4),)


def group(cases: int, n: int, first: int = 0) -> CaseGroup:
    """Cases whose inputs are their numbers and whose outputs are twice that, at every point."""
    a = np.broadcast_to(first + np.arange(cases, dtype=np.float32)[:, None, None], (cases, n, 1))
    return CaseGroup(Grid((Axis.uniform(n),)), a + 1, 2 * (a + 1))


def one_grid(cases: int = 23) -> CaseSet:
    return CaseSet((group(cases, 8),))


def several_grids() -> CaseSet:
    return CaseSet((group(20, 8), group(10, 12, 20), group(30, 16, 30), group(9, 31, 60)))


def trajectories(cases: int = 5, times: int = 7, n: int = 8) -> CaseSet:
    """States 100 case + time, at every point, with the case as its coefficient."""
    numbers = np.arange(cases, dtype=np.float32)[:, None, None]
    states = 100 * numbers[:, None] + np.arange(times, dtype=np.float32)[:, None, None]
    shape = (cases, times, n, 1)
    grid = Grid((Axis.uniform(n),))
    return CaseSet((CaseGroup(grid, np.broadcast_to(numbers, (cases, n, 1)), np.broadcast_to(states, shape)),), 0.1)


def draw(count: int, cases: CaseSet, batch_size: int, **options: Any) -> list[HostBatch]:
    with Pipeline(cases, batch_size, BASES, **options) as pipeline:
        return [next(pipeline) for _ in range(count)]


def same(ours: Iterable[Any], theirs: Iterable[Any]) -> None:
    for one, other in zip(ours, theirs, strict=True):
        jax.tree.map(np.testing.assert_array_equal, one, other)


def test_every_pass_has_each_case_once_in_an_order_of_its_own() -> None:
    drawn = np.concatenate([batch.cases for batch in draw(23, one_grid(23), 4, seed=5)])
    passes = drawn.reshape(4, 23)
    for one in passes:
        assert sorted(one) == list(range(23))
    assert len({tuple(one) for one in passes}) == 4


def test_the_values_are_those_of_the_cases_named() -> None:
    for batch in draw(10, several_grids(), 8, buckets=[[12], [32]]):
        points = batch.grid.axes[0].mask if batch.grid.batched else batch.grid.axes[0].mask[None]
        np.testing.assert_array_equal(batch.inputs[..., 0], (batch.cases[:, None] + 1) * points)
        np.testing.assert_array_equal(batch.outputs, 2 * batch.inputs)
        np.testing.assert_array_equal(batch.mask, 1)


def test_the_seed_decides_the_order() -> None:
    same(draw(5, one_grid(), 4, seed=1), draw(5, one_grid(), 4, seed=1))
    first, other = draw(1, one_grid(), 16, seed=1)[0], draw(1, one_grid(), 16, seed=2)[0]
    assert list(first.cases) != list(other.cases)


@pytest.mark.parametrize("processes", [2, 4])
@pytest.mark.parametrize("buckets", [None, [[12], [32]]])
def test_the_global_batches_do_not_depend_on_the_number_of_processes(
    processes: int, buckets: list[list[int]] | None
) -> None:
    options: dict[str, Any] = {"seed": 3, "symmetries": ("shift", "sign"), "buckets": buckets}
    whole = draw(12, several_grids(), 8, **options)
    share = 8 // processes
    parts = [draw(12, several_grids(), 8, rows=slice(i * share, (i + 1) * share), **options) for i in range(processes)]
    for batch, *shares in zip(whole, *parts, strict=True):
        for name in ("inputs", "outputs", "cases"):
            np.testing.assert_array_equal(np.concatenate([getattr(s, name) for s in shares]), getattr(batch, name))
        if batch.grid.batched:
            leaves = zip(*(jax.tree.leaves(share.grid) for share in shares), strict=True)
            same([np.concatenate(leaf) for leaf in leaves], jax.tree.leaves(batch.grid))
        else:
            same([share.grid for share in shares], [batch.grid] * processes)


@pytest.mark.parametrize("prefetch", [0, 1, 5])
def test_a_saved_position_goes_on_as_if_unbroken(prefetch: int) -> None:
    options: dict[str, Any] = {"seed": 3, "symmetries": ("shift",), "buckets": [[12], [32]], "prefetch": prefetch}
    whole = draw(14, several_grids(), 8, **options)
    with Pipeline(several_grids(), 8, BASES, **options) as first:
        before = [next(first) for _ in range(6)]
        position = json.loads(json.dumps(first.get_state()))
        ahead = [next(first) for _ in range(3)]
        first.set_state(position)
        again = [next(first) for _ in range(3)]
    with Pipeline(several_grids(), 8, BASES, **options) as second:
        second.set_state(position)
        assert second.get_state() == position
        after = [next(second) for _ in range(8)]
    same(whole, before + after)
    same(ahead, again)


@pytest.mark.parametrize(
    "change", [{"seed": 4}, {"symmetries": ("sign",)}, {"batch_size": 16}, {"cases": one_grid(22)}]
)
def test_a_position_in_another_stream_is_refused(change: dict[str, Any]) -> None:
    options: dict[str, Any] = {"cases": one_grid(), "batch_size": 8, "bases": BASES, "seed": 3}
    with Pipeline(**options) as one, Pipeline(**options | change) as other:
        position = one.get_state()
        with pytest.raises(InputError, match="saved position: got stream"):
            other.set_state(position)


def test_buckets_take_turns_as_often_as_they_have_cases() -> None:
    order = Order((200, 100, 50), 10, seed=0)
    turns = Counter(order.batch(number)[0] for number in range(350))
    assert turns == {0: 200, 1: 100, 2: 50}
    for bucket, count in enumerate(order.counts):
        drawn = [order.batch(number) for number in range(35)]
        samples = np.concatenate([samples for b, samples, _ in drawn if b == bucket])
        assert sorted(samples) == list(range(count))


def test_a_bucket_smaller_than_a_batch_goes_round() -> None:
    for batch in draw(5, one_grid(3), 8):
        assert set(Counter(batch.cases.tolist()).values()) <= {2, 3, 4}


def test_a_bucket_of_one_grid_shares_its_operands_and_of_several_has_them_by_case() -> None:
    cases = several_grids()
    alone = make_operands(cases.groups[3].grid, BASES, (40,))
    seen = set()
    for batch in draw(30, cases, 8, buckets=[[16], [40]]):
        seen.add(batch.grid.batched)
        if not batch.grid.batched:
            same([batch.grid], [alone])
            continue
        for row, case in enumerate(batch.cases):
            grid = cases.groups[int(np.searchsorted([20, 30, 60], case, side="right"))].grid
            mine = jax.tree.map(lambda leaf, row=row: leaf[row], batch.grid)
            same([mine], [make_operands(grid, BASES, (16,))])
    assert seen == {True, False}


def test_equal_grids_in_several_groups_share_their_operands() -> None:
    cases = CaseSet((group(4, 8), group(4, 8, 4)))
    batch = draw(1, cases, 8)[0]
    assert not batch.grid.batched
    assert sorted(batch.cases) == list(range(8))


@pytest.mark.parametrize("unroll", [1, 3, 6])
def test_windows_of_a_trajectory_are_its_consecutive_states(unroll: int) -> None:
    starts = set()
    for batch in draw(40, trajectories(), 8, unroll=unroll):
        state, coefficient = batch.inputs[:, 0, 0], batch.inputs[:, 0, 1]
        np.testing.assert_array_equal(coefficient, batch.cases)
        steps = np.arange(1, unroll + 1)
        np.testing.assert_array_equal(batch.outputs[:, :, 5, 0], state[:, None] + steps)
        starts |= {(int(case), int(s) % 100) for case, s in zip(batch.cases, state, strict=True)}
    assert starts == {(case, start) for case in range(5) for start in range(7 - unroll)}


def test_augmented_outputs_still_belong_to_their_inputs() -> None:
    a = np.random.default_rng(0).standard_normal((40, 16, 1)).astype(np.float32)
    cases = CaseSet((CaseGroup(Grid((Axis.uniform(16),)), a, 4 * a),))
    plain, moved = draw(5, cases, 8), draw(5, cases, 8, symmetries=("shift", "flip", "sign"))
    for batch, augmented in zip(plain, moved, strict=True):
        np.testing.assert_array_equal(augmented.outputs, 4 * augmented.inputs)
        np.testing.assert_array_equal(augmented.cases, batch.cases)
        assert not np.array_equal(augmented.inputs, batch.inputs)


def test_each_pass_moves_a_case_anew() -> None:
    a = np.random.default_rng(0).standard_normal((8, 64, 1)).astype(np.float32)
    cases = CaseSet((CaseGroup(Grid((Axis.uniform(64),)), a, a),))
    first, second = (batch.inputs[np.argsort(batch.cases)] for batch in draw(2, cases, 8, symmetries=("shift",)))
    assert sum(np.array_equal(*pair) for pair in zip(first, second, strict=True)) < 4


@pytest.mark.parametrize("batch_size", [1, 7, 8, 100])
def test_evaluation_sees_every_case_once_in_order(batch_size: int) -> None:
    batches = list(evaluation_batches(several_grids(), batch_size, BASES, [[16], [40]]))
    assert all(len(batch.inputs) == batch_size for batch in batches)
    seen = [batch.cases[batch.mask > 0] for batch in batches]
    np.testing.assert_array_equal(np.concatenate(seen), np.arange(69))
    for batch in batches:
        np.testing.assert_array_equal(batch.inputs[:, 0, 0], batch.cases + 1)


@pytest.mark.parametrize(("unroll", "starts"), [(1, range(6)), (2, (0, 2, 4)), (4, (0,)), (6, (0,))])
def test_evaluation_cuts_trajectories_into_windows_that_do_not_overlap(unroll: int, starts: Iterable[int]) -> None:
    batches = list(evaluation_batches(trajectories(), 4, BASES, unroll=unroll))
    states = np.concatenate([batch.inputs[batch.mask > 0, 0, 0] for batch in batches])
    np.testing.assert_array_equal(states, [100 * case + start for case in range(5) for start in starts])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size: got 0, expected at least 1"),
        ({"buckets": [[4], [7]]}, r"a grid of \(8,\) points fits none of \[\(4,\), \(7,\)\]"),
        ({"buckets": [[8, 8]]}, r"data\.buckets\[0\]: got \[8, 8\], expected 1"),
        ({"symmetries": ("odds",)}, r"data\.symmetries\[0\]: got 'odds'"),
        ({"bases": (Basis("fourier", 10),)}, "10 modes"),
        ({"seed": -1}, "seed: got -1"),
        ({"cases": trajectories(), "unroll": 7}, "unroll: got 7, expected 1 to 6"),
    ],
)
def test_what_cannot_be_drawn_is_refused_at_once(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Pipeline(**{"cases": one_grid(), "batch_size": 8, "bases": BASES} | options)
