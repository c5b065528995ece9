"""The cache gives back what was put, never another's, and computes each answer once at a time."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable

import numpy as np
import pytest

from serving.cache import Arrays, Cache, Found, Request
from serving.refusals import Unavailable

Compute = Callable[[], Awaitable[Arrays]]


def request(value: float = 0.0, version: str = "1") -> Request:
    return Request("heat", version, "d", (4,), "g", "moments", 0, np.full((1, 4, 1), value, np.float32))


def arrays(value: float = 0.0, count: int = 4) -> Arrays:
    return {"mean": np.full(count, value, np.float32)}


def counted(outcomes: list[Exception | Arrays]) -> tuple[Compute, list[int]]:
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
        cache = Cache(10**6)
        compute, begun = counted([arrays(2.0)])
        answers = await asyncio.gather(*(cache.fetch(request(), compute) for _ in range(10)))
        assert len(begun) == 1
        assert not any(found.cached for found in answers)
        assert (await cache.fetch(request(), compute)).cached
        figures = cache.statistics
        assert (figures.misses, figures.joined, figures.hits, figures.entries) == (1, 9, 1, 1)
        assert figures.saved_seconds >= 0.01

    asyncio.run(scenario())


def test_a_request_that_joined_one_whose_deadline_passed_computes_for_itself() -> None:
    async def scenario() -> None:
        cache = Cache(10**6)
        compute, begun = counted([Unavailable("too late"), arrays(2.0)])
        asked = (cache.fetch(request(), compute) for _ in range(4))
        first, *others = await asyncio.gather(*asked, return_exceptions=True)
        assert isinstance(first, Unavailable)
        assert [other.arrays["mean"][0] for other in others if isinstance(other, Found)] == [2.0] * 3
        assert len(begun) == 2

    asyncio.run(scenario())


def test_a_request_that_is_cancelled_does_not_take_others_with_it() -> None:
    async def scenario() -> None:
        cache = Cache(10**6)
        compute, begun = counted([arrays(2.0)])
        first, second = (asyncio.create_task(cache.fetch(request(0), compute)) for _ in range(2))
        await asyncio.sleep(0.001)
        first.cancel()
        found = await second
        assert (found.arrays["mean"][0], found.cached, len(begun)) == (2.0, False, 2)
        third, fourth = (asyncio.create_task(cache.fetch(request(1), compute)) for _ in range(2))
        await asyncio.sleep(0.001)
        fourth.cancel()  # who only joined leaves the computation alone
        assert (await third).arrays["mean"][0] == 2.0
        assert fourth.cancelled()
        assert len(begun) == 3

    asyncio.run(scenario())


def test_a_defect_reaches_everyone_and_is_not_kept() -> None:
    async def scenario() -> None:
        cache = Cache(10**6)
        compute, begun = counted([RuntimeError("device"), arrays()])
        asked = (cache.fetch(request(), compute) for _ in range(3))
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        assert all(isinstance(outcome, RuntimeError) for outcome in outcomes)
        await cache.fetch(request(), compute)
        assert len(begun) == 2

    asyncio.run(scenario())


def test_when_a_version_goes_its_answers_go_and_what_it_is_computing_is_not_kept() -> None:
    async def scenario() -> None:
        cache = Cache(10**6)
        compute, begun = counted([arrays(1.0)])
        for version in ("1", "2"):
            await cache.fetch(request(0, version), compute)
        flying = asyncio.create_task(cache.fetch(request(1), compute))
        await asyncio.sleep(0.001)
        cache.invalidate("heat", "1")
        assert cache.statistics.entries == 1
        again = asyncio.create_task(cache.fetch(request(1), compute))  # does not wait for what began before
        await asyncio.gather(flying, again)
        assert len(begun) == 4
        assert (await cache.fetch(request(0, "2"), compute)).cached
        assert (await cache.fetch(request(1), compute)).cached
        assert not (await cache.fetch(request(0), compute)).cached

    asyncio.run(scenario())


def test_a_computation_that_outlives_its_version_is_not_kept() -> None:
    async def scenario() -> None:
        cache = Cache(10**6)
        compute, _ = counted([arrays(1.0)])
        flying = asyncio.create_task(cache.fetch(request(), compute))
        await asyncio.sleep(0.001)
        cache.invalidate("heat", "1")
        assert (await flying).arrays["mean"][0] == 1.0
        assert cache.statistics.entries == 0

    asyncio.run(scenario())


def test_a_computation_that_outlives_its_version_leaves_the_next_one_to_be_joined() -> None:
    async def scenario() -> None:
        cache = Cache(10**6)
        ends: list[asyncio.Future[Arrays]] = []

        async def compute() -> Arrays:
            ends.append(asyncio.get_running_loop().create_future())
            return await ends[-1]

        async def begin() -> asyncio.Task[Found]:
            asked = asyncio.create_task(cache.fetch(request(), compute))
            for _ in range(5):  # turns of the loop
                await asyncio.sleep(0)
            return asked

        old = await begin()
        cache.invalidate("heat", "1")
        new = await begin()
        ends[0].set_result(arrays(1.0))
        await old
        joined = await begin()
        assert len(ends) == 2
        ends[1].set_result(arrays(2.0))
        assert [(await asked).arrays["mean"][0] for asked in (old, new, joined)] == [1.0, 2.0, 2.0]
        assert cache.statistics.joined == 1

    asyncio.run(scenario())


@pytest.mark.parametrize("compressed", [False, True])
def test_what_is_held_cannot_be_changed(compressed: bool) -> None:
    async def scenario() -> None:
        cache = Cache(10**6, compressed)
        value = arrays(count=10_000)
        compute, _ = counted([value])
        for _ in range(3):
            found = await cache.fetch(request(), compute)
            with pytest.raises(ValueError, match="read-only"):
                found.arrays["mean"][0] = 1
        assert (cache.statistics.whole_bytes > cache.statistics.bytes) == compressed

    asyncio.run(scenario())


def test_near_inputs_get_the_answer_of_those_held_marked_and_only_if_asked_for() -> None:
    async def scenario() -> None:
        compute, begun = counted([arrays(1.0)])
        exact, near = Cache(10**6), Cache(10**6, approximate=0.01)
        for value in (1.0, 1.001, 1.1):
            found = await exact.fetch(request(value), compute)
            assert (found.cached, found.distance) == (False, None)
        del begun[:]
        found = await near.fetch(request(1.0), compute)
        assert (found.cached, found.distance) == (False, None)
        found = await near.fetch(request(1.001), compute)
        assert found.cached
        assert found.distance == pytest.approx(0.001 / 1.001, rel=1e-4)
        assert (await near.fetch(request(1.0), compute)).distance is None
        for other in (request(1.1), request(1.001, version="2")):
            found = await near.fetch(other, compute)
            assert (found.cached, found.distance) == (False, None)
        figures = near.statistics
        assert (figures.hits, figures.approximate_hits, figures.misses, len(begun)) == (1, 1, 3, 3)
        near.invalidate("heat", "1")
        assert not (await near.fetch(request(1.001), compute)).cached

    asyncio.run(scenario())


def test_it_turns_itself_off_for_what_computes_faster_than_a_look_up() -> None:
    async def scenario() -> None:
        cache, large = Cache(10**8), np.zeros((1, 2**20, 1), np.float32)  # whose key takes a while
        slow, _ = counted([arrays()])
        value = arrays()

        async def fast() -> Arrays:
            return value

        def asked(version: str, number: int) -> Request:
            return Request("heat", version, "d", (4,), "g", "moments", number, large)

        for number in range(30):
            await cache.fetch(asked("fast", number), fast)
            await cache.fetch(request(number, "slow"), slow)
        figures = cache.statistics
        assert figures.off == ("heat/fast",)
        assert 0 < figures.skipped < 30
        assert figures.skipped + figures.misses == 60
        assert not (await cache.fetch(asked("fast", 0), fast)).cached  # though it is held
        assert (await cache.fetch(request(0, "slow"), slow)).cached

    asyncio.run(scenario())
