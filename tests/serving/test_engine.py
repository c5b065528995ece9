"""Cases on different grids share batches, get their own answers, and one failure is nobody else's."""

import asyncio
import dataclasses
import threading
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import pytest

from pnol_jax.bases import make_operands
from pnol_jax.grids import Grid
from pnol_jax.servable import flatten_operands
from serving.costs import Costs
from serving.engine import Engine, Job, thread
from serving.ladder import Ladder
from serving.places import Place, Places
from serving.refusals import Unavailable
from tests import heat

SMALL, LARGE = (12, 12), (20, 24)


@dataclasses.dataclass
class Gate:
    """Holds the engine's thread inside a program until it is opened, and notes the batches that it ran."""

    open: threading.Event = dataclasses.field(default_factory=threading.Event)
    entered: threading.Event = dataclasses.field(default_factory=threading.Event)
    batches: list[int] = dataclasses.field(default_factory=list)
    error: Exception | None = None

    def guard(self, ladder: Ladder) -> Ladder:
        def guarded(program: Any) -> Any:
            def run(inputs: Any, *rest: Any) -> Any:
                self.batches.append(len(inputs))
                self.entered.set()
                assert self.open.wait(60)
                if self.error is not None:
                    error, self.error = self.error, None
                    raise error
                return program(inputs, *rest)

            return run

        return dataclasses.replace(ladder, programs={key: guarded(p) for key, p in ladder.programs.items()})


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine(queue_cases=10, operands_bytes=2**20, utilisation_window=60.0)
    yield engine
    engine.close()


def job(ladder: Ladder, grid: Grid, *waves: tuple[int, int], bucket: tuple[int, int] = LARGE) -> Job:
    inputs = np.stack([heat.wave(grid, *pair)[0] for pair in waves])
    return Job(ladder, place(ladder, grid, bucket), "moments", inputs)


def place(ladder: Ladder, grid: Grid, bucket: tuple[int, int]) -> Place:
    """In a bucket that is not the smallest, if need be."""
    found = ladder.places.of([axis.points for axis in grid.axes])
    operands = flatten_operands(make_operands(grid, ladder.servable.manifest.signature.bases(), bucket))
    return found._replace(bucket=bucket, key=f"{found.digest} {bucket}", operands=operands)


def check(grid: Grid, answer: dict[str, Any], *waves: tuple[int, int]) -> None:
    expected = np.stack([heat.wave(grid, *pair)[1] for pair in waves])
    np.testing.assert_allclose(answer["mean"], expected, atol=1e-6)


async def held(engine: Engine, gate: Gate, ladder: Ladder) -> asyncio.Future[Any]:
    """A job that occupies the engine until the gate opens."""
    first = engine.submit(job(ladder, heat.grid(9, 9), (1, 1)))
    await asyncio.to_thread(gate.entered.wait, 60)
    return first


def test_different_grids_that_wait_together_share_one_batch_and_one_call_to_the_loop(
    engine: Engine, ladder: Ladder
) -> None:
    async def scenario() -> None:
        loop, gate = asyncio.get_running_loop(), Gate()
        calls: list[Any] = []
        wake = loop.call_soon_threadsafe

        def counting(callback: Any, *arguments: Any, **keywords: Any) -> Any:
            if threading.current_thread().name == "engine":
                calls.append(callback)
            return wake(callback, *arguments, **keywords)

        loop.call_soon_threadsafe = counting  # type: ignore[method-assign]
        guarded = gate.guard(ladder)
        first = await held(engine, gate, guarded)
        grids = [heat.grid(9, 10), heat.grid(20, 24), heat.grid(15, 17)]
        waiting = [engine.submit(job(guarded, grid, (2, 1))) for grid in grids]
        waiting.append(engine.submit(job(guarded, heat.grid(11, 11), (1, 2), (3, 1), (2, 2))))
        gate.open.set()
        answers = await asyncio.gather(first, *waiting)
        for grid, answer in zip(grids, answers[1:], strict=False):
            check(grid, answer, (2, 1))
        check(heat.grid(11, 11), answers[-1], (1, 2), (3, 1), (2, 2))
        assert gate.batches == [1, 4, 2]  # the job of three cases is in two batches
        assert len(calls) == 3
        figures = engine.statistics
        assert (figures.cases, figures.slots, figures.waiting) == (7, 7, 0)

    asyncio.run(scenario())


def test_one_grid_in_buckets_of_two_models_has_the_operands_of_each(engine: Engine, ladder: Ladder) -> None:
    async def scenario() -> None:
        servable, grid = ladder.servable, heat.grid(10, 10)
        for buckets in ((SMALL, LARGE), (LARGE,)):
            manifest = msgspec.structs.replace(servable.manifest, buckets=buckets)
            model = dataclasses.replace(servable, manifest=manifest)
            one = dataclasses.replace(ladder, servable=model, places=Places(model))
            where = one.places.of([axis.points for axis in grid.axes])
            assert where.bucket == buckets[0]
            asked = Job(one, where, "moments", heat.wave(grid, 1, 2)[0][None])
            check(grid, await engine.submit(asked), (1, 2))

    asyncio.run(scenario())


def test_each_bucket_and_kind_has_its_own_lane_served_in_order_of_arrival(engine: Engine, ladder: Ladder) -> None:
    async def scenario() -> None:
        gate = Gate()
        guarded = gate.guard(ladder)
        first = await held(engine, gate, guarded)
        grid = heat.grid(10, 10)
        draws = Job(guarded, place(guarded, grid, SMALL), "samples", heat.wave(grid, 1, 1)[0][None], seed=5)
        order: list[str] = []
        futures = {
            "small": engine.submit(job(guarded, grid, (1, 1), bucket=SMALL)),
            "draws": engine.submit(draws),
            "large": engine.submit(job(guarded, grid, (1, 1))),
        }
        for name, future in futures.items():
            future.add_done_callback(lambda _, name=name: order.append(name))
        gate.open.set()
        await asyncio.gather(first, *futures.values())
        assert order == ["small", "draws", "large"]
        samples = futures["draws"].result()["samples"]
        assert samples.shape == (1, heat.NUM_SAMPLES, 10, 10, 1)
        again = await engine.submit(draws)
        np.testing.assert_array_equal(samples, again["samples"])

    asyncio.run(scenario())


def test_a_full_queue_refuses_with_a_time_to_come_back_and_keeps_what_it_has(engine: Engine, ladder: Ladder) -> None:
    async def scenario() -> None:
        gate = Gate()
        guarded = gate.guard(ladder)
        first = await held(engine, gate, guarded)
        grid = heat.grid(9, 9)
        accepted = engine.submit(job(guarded, grid, *[(1, 1)] * 8))
        with pytest.raises(Unavailable, match="8 cases are waiting, got 3 more, expected at most 10") as refused:
            engine.submit(job(guarded, grid, *[(1, 1)] * 3))
        assert refused.value.retry_after >= 1
        last = engine.submit(job(guarded, grid, (2, 2), (1, 1)))
        gate.open.set()
        await asyncio.gather(first, accepted)
        check(grid, await last, (2, 2), (1, 1))
        assert engine.statistics.refused == 1

    asyncio.run(scenario())


def test_a_cancelled_job_leaves_the_batch(engine: Engine, ladder: Ladder) -> None:
    async def scenario() -> None:
        gate = Gate()
        guarded = gate.guard(ladder)
        first = await held(engine, gate, guarded)
        grid = heat.grid(9, 9)
        gone = engine.submit(job(guarded, grid, *[(1, 1)] * 4))
        stays = engine.submit(job(guarded, grid, (2, 3)))
        gone.cancel()
        gate.open.set()
        await first
        check(grid, await stays, (2, 3))
        assert gate.batches == [1, 1]

    asyncio.run(scenario())


def test_a_program_that_fails_fails_its_batch_only(engine: Engine, ladder: Ladder) -> None:
    async def scenario() -> None:
        gate = Gate(error=RuntimeError("out of memory"))
        guarded = gate.guard(ladder)
        gate.open.set()
        grid = heat.grid(9, 9)
        with pytest.raises(RuntimeError, match="out of memory"):
            await engine.submit(job(guarded, grid, (1, 1)))
        check(grid, await engine.submit(job(guarded, grid, (1, 1))), (1, 1))
        assert engine.alive
        assert engine.statistics.failures == 1

    asyncio.run(scenario())


def test_closing_answers_what_was_accepted_and_refuses_what_comes_after(ladder: Ladder) -> None:
    async def scenario() -> None:
        engine = Engine(queue_cases=10, operands_bytes=2**20, utilisation_window=60.0)
        grid = heat.grid(9, 9)
        accepted = [engine.submit(job(ladder, grid, (1, k))) for k in (1, 2, 3)]
        await asyncio.to_thread(engine.close)
        for k, future in enumerate(accepted, start=1):
            check(grid, await future, (1, k))
        with pytest.raises(Unavailable, match="shutting down"):
            engine.submit(job(ladder, grid, (1, 1)))
        assert not engine.alive

    asyncio.run(scenario())


def test_closing_leaves_a_device_that_hangs_behind(ladder: Ladder, monkeypatch: pytest.MonkeyPatch) -> None:
    async def closing() -> None:
        engine, gate = Engine(10, 2**20, 60.0), Gate()
        under_way = await held(engine, gate, gate.guard(ladder))
        monkeypatch.setattr(thread, "STUCK", 0.1)
        await asyncio.to_thread(engine.close)
        assert not under_way.done()
        gate.open.set()
        await under_way

    asyncio.run(closing())


def test_what_comes_alone_and_takes_little_runs_on_the_loops_own_thread_and_the_rest_on_the_engines(
    ladder: Ladder,
) -> None:
    ran: list[str] = []

    def noted(program: Any) -> Any:
        def run(*arguments: Any) -> Any:
            ran.append(threading.current_thread().name)
            return program(*arguments)

        return run

    def costing(seconds: float) -> Ladder:
        costs = {kind: Costs.of({1: seconds, 4: seconds}) for kind in ladder.costs}
        programs = {key: noted(program) for key, program in ladder.programs.items()}
        return dataclasses.replace(ladder, programs=programs, costs=costs)

    async def scenario() -> None:
        grid = heat.grid(9, 10)
        while not engine._wake._waiters:  # type: ignore[attr-defined]  # a thread on its way to wait takes what is there
            await asyncio.sleep(0.01)
        for seconds, expected in ((1e-3, here), (1e-5, here)):
            check(grid, await engine.submit(job(costing(seconds), grid, (1, 2))), (1, 2))
            assert ran.pop() == expected
        slow, cheap = costing(1e-3), costing(1e-5)
        for one, expected in ((cheap, here), (slow, "engine")):  # what comes together, and is more than nothing
            answers = await asyncio.gather(*(engine.submit(job(one, grid, (wave, 1))) for wave in (1, 2, 3, 4)))
            for wave, answer in enumerate(answers, 1):
                check(grid, answer, (wave, 1))
            assert set(ran) == {expected}
            ran.clear()
        check(grid, await engine.submit(job(costing(1.0), grid, (1, 2))), (1, 2))
        assert ran == ["engine"]

    here = threading.current_thread().name
    engine = Engine(queue_cases=10, operands_bytes=2**20, utilisation_window=60.0, inline_seconds=2e-3)
    try:
        asyncio.run(scenario())
    finally:
        engine.close()


def test_the_loop_runs_nothing_while_the_thread_has_the_device(ladder: Ladder) -> None:
    def costing(ladder: Ladder, seconds: float) -> Ladder:
        return dataclasses.replace(ladder, costs={kind: Costs.of({1: seconds}) for kind in ladder.costs})

    async def scenario() -> None:
        gate, grid = Gate(), heat.grid(9, 9)
        first = await held(engine, gate, costing(gate.guard(ladder), 1.0))
        second = engine.submit(job(costing(ladder, 1e-5), grid, (1, 2)))
        order: list[str] = []
        for name, future in (("first", first), ("second", second)):
            future.add_done_callback(lambda _, name=name: order.append(name))
        for _ in range(3):  # turns of the loop
            await asyncio.sleep(0)
        gate.open.set()
        check(grid, (await asyncio.gather(first, second))[1], (1, 2))
        assert order == ["first", "second"]

    engine = Engine(queue_cases=10, operands_bytes=2**20, utilisation_window=60.0, inline_seconds=2e-3)
    try:
        asyncio.run(scenario())
    finally:
        engine.close()
