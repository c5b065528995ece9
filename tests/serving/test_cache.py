"""The cache gives back what was put, never another's, within its bytes, and computes each answer once at a time."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable

import numpy as np
import pytest

from serving.cache import Arrays, LRUCache, request_key
from serving.refusals import Unavailable


def key_of(**changes: object) -> bytes:
    parts = {
        "model": "heat",
        "version": "1",
        "digest": "d",
        "bucket": (4, 4),
        "grid": "g",
        "options": "moments",
        "seed": 0,
        "inputs": np.zeros((2, 4), np.float32),
    }
    return request_key(**(parts | changes))  # type: ignore[arg-type]


def test_requests_that_share_bytes_but_differ_in_anything_else_have_keys_of_their_own() -> None:
    changes: list[dict[str, object]] = [
        {},
        {"model": "wave"},
        {"version": "2"},
        {"digest": "e"},
        {"bucket": (4, 8)},
        {"grid": "h"},
        {"options": "samples"},
        {"seed": 1},
        {"inputs": np.zeros((4, 2), np.float32)},
        {"inputs": np.zeros((2, 4), np.int32)},
        {"inputs": np.zeros((2, 2), np.float64)},
        {"inputs": np.full((2, 4), 1e-45, np.float32)},
        {"model": "hea", "version": "t1"},  # the same letters, cut elsewhere
        {"version": "1d", "digest": ""},
    ]
    keys = [key_of(**change) for change in changes]
    assert len(set(keys)) == len(keys)
    assert key_of() == key_of(inputs=np.zeros((4, 2), np.float32).T.reshape(2, 4))


def arrays(count: int, value: float = 0.0) -> Arrays:
    return {"mean": np.full(count, value, np.float32)}


def test_it_holds_at_most_its_bytes_and_evicts_what_was_asked_least_recently() -> None:
    cache = LRUCache(3 * 400)
    for name in (b"a", b"b", b"c"):
        cache.put(name, arrays(100))
    assert cache.get(b"a") is not None
    cache.put(b"d", arrays(100))
    assert [cache.get(name) is not None for name in (b"a", b"b", b"c", b"d")] == [True, False, True, True]
    cache.put(b"e", arrays(1000))  # larger than the cache
    assert cache.get(b"e") is None
    assert (cache.statistics.entries, cache.statistics.bytes, cache.statistics.evictions) == (3, 1200, 1)


def test_random_traffic_never_exceeds_the_bytes_nor_mixes_answers_up() -> None:
    cache, generator = LRUCache(5000), np.random.default_rng(0)
    for number in generator.integers(0, 60, 3000):
        name = b"%d" % number
        held = cache.get(name)
        if held is None:
            cache.put(name, arrays(int(number) + 1, float(number)))
        else:
            np.testing.assert_array_equal(held["mean"], arrays(int(number) + 1, float(number))["mean"])
        assert cache.statistics.bytes <= 5000


def test_what_is_held_cannot_be_changed() -> None:
    cache = LRUCache(1000)
    value = arrays(4)
    cache.put(b"a", value)
    with pytest.raises(ValueError, match="read-only"):
        value["mean"][0] = 1


def counted(outcomes: list[Exception | Arrays]) -> tuple[Callable[[], Awaitable[Arrays]], list[int]]:
    """A computation that takes a while and comes to one outcome after the other; and how often it began."""
    begun: list[int] = []
    numbers = itertools.count()

    async def compute() -> Arrays:
        number = next(numbers)
        begun.append(number)
        await asyncio.sleep(0.01)
        outcome = outcomes[min(number, len(outcomes) - 1)]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return compute, begun


def test_equal_requests_at_the_same_time_are_computed_once() -> None:
    async def scenario() -> None:
        cache = LRUCache(1000)
        compute, begun = counted([arrays(4, 2.0)])
        answers = await asyncio.gather(*(cache.fetch(b"a", compute) for _ in range(10)))
        assert len(begun) == 1
        assert not any(held for _, held in answers)
        assert (await cache.fetch(b"a", compute))[1]
        figures = cache.statistics
        assert (figures.misses, figures.joined, figures.hits) == (1, 9, 1)

    asyncio.run(scenario())


def test_a_request_that_joined_one_whose_deadline_passed_computes_for_itself() -> None:
    async def scenario() -> None:
        cache = LRUCache(1000)
        compute, begun = counted([Unavailable("too late"), arrays(4, 2.0)])
        first, *others = await asyncio.gather(*(cache.fetch(b"a", compute) for _ in range(4)), return_exceptions=True)
        assert isinstance(first, Unavailable)
        assert all(other[0]["mean"][0] == 2.0 for other in others if not isinstance(other, BaseException))
        assert len(others) == 3
        assert len(begun) == 2

    asyncio.run(scenario())


def test_a_request_that_is_cancelled_does_not_take_others_with_it() -> None:
    async def scenario() -> None:
        cache = LRUCache(1000)
        compute, begun = counted([arrays(4, 2.0)])
        first, second = (asyncio.create_task(cache.fetch(b"a", compute)) for _ in range(2))
        await asyncio.sleep(0.001)
        first.cancel()
        value, held = await second
        assert (value["mean"][0], held, len(begun)) == (2.0, False, 2)
        third = asyncio.create_task(cache.fetch(b"b", compute))
        fourth = asyncio.create_task(cache.fetch(b"b", compute))
        await asyncio.sleep(0.001)
        fourth.cancel()  # who only joined leaves the computation alone
        assert (await third)[0]["mean"][0] == 2.0
        assert fourth.cancelled()
        assert len(begun) == 3

    asyncio.run(scenario())


def test_a_defect_reaches_everyone_and_is_not_kept() -> None:
    async def scenario() -> None:
        cache = LRUCache(1000)
        compute, begun = counted([RuntimeError("device"), arrays(4)])
        outcomes = await asyncio.gather(*(cache.fetch(b"a", compute) for _ in range(3)), return_exceptions=True)
        assert all(isinstance(outcome, RuntimeError) for outcome in outcomes)
        await cache.fetch(b"a", compute)
        assert len(begun) == 2

    asyncio.run(scenario())
