"""The policies that the cache is compared with, and the optimum that none of them may exceed."""

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.cache_lookups import look_up
from benchmarks.cache_policies import LRU, Frequency, TinyLFU
from benchmarks.cache_traces import Trace, belady, next_request, optimum, replay
from serving.cache.s3fifo import S3FIFO


def trace(seed: int, unequal: bool, requests: int = 400, objects: int = 30) -> Trace:
    generator = np.random.default_rng(seed)
    sizes = generator.integers(1, 20, objects) if unequal else np.full(objects, 5)
    return Trace("random", generator.zipf(1.3, requests) % objects, sizes, 60)


@pytest.mark.parametrize("make", [LRU, TinyLFU, S3FIFO])
@pytest.mark.parametrize("unequal", [False, True])
def test_no_policy_holds_more_than_its_bytes_or_hits_more_than_the_optimum(make: type, unequal: bool) -> None:
    for seed in range(10):
        given = trace(seed, unequal)
        policy, held = make(given.capacity), set()
        for number in given.requests.tolist():
            key = b"%d" % number
            assert (key in policy) == (key in held)
            if key in held:
                policy.hit(key)
            else:
                held = (held | {key}) - set(policy.add(key, int(given.sizes[number])))
            assert policy.bytes == sum(int(given.sizes[int(key)]) for key in held) <= given.capacity
            assert len(policy) == len(held)
        reached, best = replay(given, make), optimum(given)
        assert 0.1 < reached.requests <= best.requests <= 1
        assert 0.1 < reached.bytes <= best.bytes <= 1


def test_lru_lets_go_what_was_asked_for_least_recently() -> None:
    policy = LRU(3)
    for key in (b"a", b"b", b"c"):
        policy.add(key, 1)
    policy.hit(b"a")
    assert policy.add(b"d", 2) == [b"b", b"c"]
    assert b"a" in policy
    policy.remove(b"a")
    assert policy.bytes == 2


def best_by_trying(requests: NDArray[np.int64], slots: int) -> int:
    """The most hits that any choice of what to hold can have, by trying all."""
    reached: dict[frozenset[int], int] = {frozenset(): 0}
    for number in requests.tolist():
        following: dict[frozenset[int], int] = {}
        for held, hits in reached.items():
            have = sorted(held | {number})
            for kept in itertools.chain.from_iterable(
                itertools.combinations(have, count) for count in range(min(slots, len(have)) + 1)
            ):
                state, now = frozenset(kept), hits + (number in held)
                following[state] = max(following.get(state, 0), now)
        reached = following
    return max(reached.values())


def test_belady_is_the_best_of_all_choices() -> None:
    for seed in range(20):
        requests = np.random.default_rng(seed).integers(0, 5, 12)
        for slots in (1, 2, 3):
            assert belady(requests, slots).sum() == best_by_trying(requests, slots)


def test_the_next_request_is_the_next_for_the_same_object() -> None:
    np.testing.assert_array_equal(next_request(np.array([3, 1, 3, 3, 1])), [2, 4, 3, 5, 5])


def test_the_sketch_never_counts_less_than_happened() -> None:
    sketch, counts = Frequency(64), dict.fromkeys(range(40), 0)
    for number in np.random.default_rng(0).integers(0, 40, 200).tolist():
        sketch.count(b"%d" % number, entries=10**6)
        counts[number] += 1
        assert all(sketch[b"%d" % key] >= min(count, 15) for key, count in counts.items())


def test_look_ups_that_share_bytes_find_their_own() -> None:
    found = look_up(30_000)
    assert found.wrong == 0
    assert found.hits > 3000
