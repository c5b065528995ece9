"""What is found is within the bound, always; and what is within it is found."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from serving.cache.neighbours import COMPARED, Neighbours, distance

SHAPE = (2, 7, 5, 3)  # cases, space, channels
SCALES = np.array([1.0, 1e4, 1e-5])  # of the channels


def inputs(seed: int) -> NDArray[np.float32]:
    return (np.random.default_rng(seed).standard_normal(SHAPE) * SCALES).astype(np.float32)


def plain_distance(asked: NDArray[np.float32], held: NDArray[np.float32]) -> float:
    largest = 0.0
    for case in range(SHAPE[0]):
        for channel in range(SHAPE[-1]):
            a, b = (side[case, ..., channel].astype(float) for side in (asked, held))
            if (a != b).any():
                peak = np.abs(a).max()
                largest = max(largest, np.abs(a - b).max() / peak if peak else math.inf)
    return largest


@pytest.mark.parametrize("bound", [1e-6, 1e-3, 0.1, 0.7])
def test_every_claim_is_within_the_bound_and_whatever_is_within_is_found(bound: float) -> None:
    generator, neighbours = np.random.default_rng(1), Neighbours(bound)
    held = {b"%d" % seed: inputs(seed) for seed in range(5)}
    for key, values in held.items():
        neighbours.add(key, b"here", values)
    found = 0
    for trial in range(300):
        base = held[b"%d" % (trial % 5)]
        peak = np.abs(base).max(axis=(1, 2), keepdims=True)
        noise = generator.choice([-1, 1, 0.3], SHAPE) * peak * bound * generator.choice([0.5, 0.999, 1.05, 3])
        asked = (base + noise).astype(np.float32)
        distances = {key: plain_distance(asked, values) for key, values in held.items()}
        claim = neighbours.find(b"here", asked)
        nearest = min(distances.values())
        if claim is None:
            assert nearest > bound
        else:
            found += 1
            assert claim[1] == pytest.approx(distances[claim[0]], rel=1e-12)
            assert claim[1] == pytest.approx(nearest, rel=1e-12)
            assert distances[claim[0]] <= bound
    assert 50 < found < 300


def test_a_small_channel_counts_as_much_as_a_large_one() -> None:
    held, neighbours = inputs(0), Neighbours(0.01)
    neighbours.add(b"a", b"", held)
    asked = held.copy()
    asked[..., 2] *= 1.5  # next to nothing beside the others
    assert neighbours.find(b"", asked) is None
    assert distance(asked, held) == pytest.approx(1 / 3, rel=1e-6)


def test_a_channel_that_is_zero_is_near_nothing_but_zero() -> None:
    held, neighbours = inputs(0), Neighbours(0.5)
    held[..., 1] = 0
    neighbours.add(b"a", b"", held)
    assert neighbours.find(b"", held) == (b"a", 0.0)
    other = held.copy()
    other[0, 0, 0, 1] = 1e-30
    assert neighbours.find(b"", other) is None
    assert distance(held, other) == math.inf
    assert distance(other, held) == 1.0


def test_the_smallest_bound_finds_what_is_equal() -> None:
    neighbours = Neighbours(5e-324)
    neighbours.add(b"a", b"", inputs(0))
    assert neighbours.find(b"", inputs(0)) == (b"a", 0.0)
    assert neighbours.find(b"", np.nextafter(inputs(0), np.float32(9))) is None


def test_other_contexts_and_what_was_removed_are_not_found() -> None:
    values, neighbours = inputs(0), Neighbours(0.1)
    neighbours.add(b"a", b"here", values)
    assert neighbours.find(b"there", values) is None
    neighbours.remove(b"a")
    neighbours.remove(b"a")
    assert neighbours.find(b"here", values) is None


def test_the_latest_are_compared_where_many_are_alike() -> None:
    neighbours = Neighbours(0.5)
    for number in range(3 * COMPARED):
        neighbours.add(b"%d" % number, b"", inputs(0))
    claim = neighbours.find(b"", inputs(0))
    assert claim is not None
    assert int(claim[0]) >= 2 * COMPARED
