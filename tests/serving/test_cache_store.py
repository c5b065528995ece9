"""The store gives back what was put, within its bytes whatever is asked of it, and forgets a version whole."""

import tracemalloc

import numpy as np
import pytest

from serving.cache.neighbours import Neighbours
from serving.cache.store import Arrays, Store


def arrays(number: int) -> Arrays:
    """Of a size and content that are the number's own."""
    generator = np.random.default_rng(number)
    return {"mean": np.full(1 + 37 * number, number, np.float32), "draw": generator.standard_normal(300)}


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("bound", [0.0, 0.01])
def test_random_traffic_never_exceeds_the_bytes_nor_mixes_answers_up(compressed: bool, bound: float) -> None:
    capacity = 200_000
    store = Store(capacity, compressed, Neighbours(bound) if bound else None)
    generator, hits = np.random.default_rng(0), 0
    for number in generator.integers(0, 60, 3000).tolist():
        key, version = b"%d" % number, ("heat", str(number % 3))
        held = store.get(key)
        if held is None:
            store.put(key, version, arrays(number), float(number), b"", np.full((1, 8, 1), number, np.float32))
        else:
            hits += 1
            for name, array in arrays(number).items():
                np.testing.assert_array_equal(held[0][name], array)
            assert held[1] == number
        if generator.random() < 0.01:
            store.drop(version)
            assert all(store.get(b"%d" % other) is None for other in range(number % 3, 60, 3))
        assert store.bytes <= capacity
    assert hits > 500
    assert store.evictions > 100
    for version in range(3):
        store.drop(("heat", str(version)))
    assert (len(store), store.bytes, store.saved_bytes) == (0, 0, 0)
    assert store.near(b"", np.full((1, 8, 1), 1.0, np.float32)) is None


def test_inputs_are_near_what_was_put_whatever_becomes_of_their_array() -> None:
    store, inputs = Store(100_000, False, Neighbours(0.01)), np.ones((1, 8, 1), np.float32)
    store.put(b"key", ("heat", "1"), arrays(1), 0.0, b"", inputs)
    inputs[:] = 2
    assert store.near(b"", np.full((1, 8, 1), 1.0, np.float32)) == (b"key", 0.0)
    assert store.near(b"", inputs) is None


def test_small_answers_take_no_more_memory_than_is_counted() -> None:
    capacity = 2_000_000
    tracemalloc.start()
    try:
        store = Store(capacity, False, None)
        before = tracemalloc.get_traced_memory()[0]
        for number in range(6000):  # thrice what it holds, so that keys of what has gone are remembered too
            value = {"mean": np.zeros(8, np.float32)}
            store.put(number.to_bytes(32, "little"), ("heat", "1"), value, 0.0, b"", np.zeros((1, 2, 1)))
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert store.evictions > 4000
    assert taken <= store.bytes <= capacity
