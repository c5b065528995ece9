"""Rollouts are the library's march, go through the engine as others do, and end alone."""

import asyncio
import contextlib
import dataclasses
import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pnol_jax.bases import make_operands
from pnol_jax.servable import load_servable
from serving.connection import CLIENT, Client
from serving.costs import Costs
from serving.engine import Engine, Job
from serving.ladder import Ladder, compile_ladder
from serving.monitoring.recorder import Recorder
from serving.places import Places
from serving.refusals import TooLarge, Unavailable
from serving.rollouts import RolloutEndpoint, Rollouts
from serving.rollouts.query import RolloutBody, RolloutOptions
from serving.rollouts.service import Step
from serving.settings import Settings
from tests import heat, marching
from tests.processes import until
from tests.serving.test_engine import Gate

POINTS, SEED = 13, 7
CLOSE = 1e-5  # float32: some hundred roundings of values of order one
FIRST = marching.first(POINTS)
SETTINGS = Settings("models", rollout_steps=1000)


@pytest.fixture(scope="module")
def ladder(tmp_path_factory: pytest.TempPathFactory) -> Ladder:
    signature = marching.signature(1, ["moments", "step"])
    servable = load_servable(marching.write(tmp_path_factory.mktemp("models"), signature=signature))
    compiled = compile_ladder(servable, {"moments": (1,), "step": (1, 2)})
    known = {"moments": Costs.of({1: 1e-3}), "step": Costs.of({1: 1e-3, 2: 1.2e-3})}  # of any machine
    return dataclasses.replace(compiled, costs={kind: known[kind[1]] for kind in compiled.costs})


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine(queue_cases=8, operands_bytes=2**20, utilisation_window=60.0)
    yield engine
    engine.close()


def serving(ladder: Ladder, engine: Engine, settings: Settings = SETTINGS) -> Rollouts:
    """Rollouts of one version alone."""
    found = SimpleNamespace(model="march", version="1")
    repository = SimpleNamespace(find=lambda model, version: ladder)

    async def judge(*_: Any) -> None:
        pass

    service: Any = SimpleNamespace(engine=engine, repository=repository, asked=lambda query: found, judge=judge)
    return Rollouts(service, settings)


def asking(steps: int, inputs: Any = FIRST, **options: Any) -> RolloutOptions:
    return RolloutBody(inputs=json.dumps(np.asarray(inputs).tolist()).encode(), steps=steps, **options)  # type: ignore[arg-type]


async def run(rollouts: Rollouts, asked: RolloutOptions) -> list[Step]:
    return [step async for step in rollouts.run(rollouts.begin(asked))]


def marched(case: int, steps: int, inputs: Any = FIRST) -> Any:
    """The library's own states, on the grid without padding, (steps, draws, points, 1)."""
    operands = make_operands(heat.grid(POINTS), marching.signature(1).bases())
    return marching.marched(np.asarray(inputs, np.float32), operands, SEED, case, steps)


def test_every_step_is_that_of_the_library_s_march(ladder: Ladder, engine: Engine) -> None:
    cases = np.stack([FIRST, -0.5 * FIRST])
    asked = asking(6, cases, seed=SEED, outputs=("samples", "mean", "std"), stride=2, num_samples=4)
    steps = asyncio.run(run(serving(ladder, engine), asked))
    assert [(step.number, step.time) for step in steps] == [(n, n * marching.TIME_STEP) for n in (2, 4, 6)]
    for case, inputs in enumerate(cases):
        expected = marched(case, 6, inputs)
        for step in steps:
            states = expected[step.number - 1]
            np.testing.assert_allclose(step.arrays["samples"][case], states[:4], atol=CLOSE)
            np.testing.assert_allclose(step.arrays["mean"][case], states.mean(axis=0), atol=CLOSE)
            np.testing.assert_allclose(step.arrays["std"][case], states.std(axis=0, ddof=1), atol=CLOSE)


def test_rollouts_share_batches_whatever_their_steps(ladder: Ladder, engine: Engine) -> None:
    """While the first step of one is held, another's first joins what comes after."""
    gate = Gate()
    rollouts = serving(gate.guard(ladder), engine)

    async def go() -> list[list[Step]]:
        tasks = [asyncio.create_task(run(rollouts, asking(2, seed=SEED)))]
        await asyncio.to_thread(gate.entered.wait, 60)
        tasks += [asyncio.create_task(run(rollouts, asking(steps, seed=SEED))) for steps in (1, 3)]
        await asyncio.sleep(0)
        gate.open.set()
        return await asyncio.gather(*tasks)

    found = asyncio.run(go())
    assert gate.batches[:2] == [1, 2]
    assert sum(gate.batches) >= 6
    for steps in found:
        np.testing.assert_allclose(steps[0].arrays["mean"], marched(0, 1)[0].mean(axis=0), atol=CLOSE)


def test_a_long_rollout_lets_others_in_between_its_steps(ladder: Ladder, engine: Engine) -> None:
    rollouts = serving(ladder, engine)
    place = Places(ladder.servable).uniform((POINTS,))

    async def go() -> int:
        task = asyncio.create_task(run(rollouts, asking(1000)))
        while rollouts.steps < 3:
            await asyncio.sleep(0)
        before = rollouts.steps
        await engine.submit(Job(ladder, place, "moments", FIRST[None]))
        between = rollouts.steps - before
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        return between

    assert asyncio.run(go()) <= 2  # the one under way, and one that came before
    assert (rollouts.open, rollouts.bytes) == (0, 0)


def test_states_are_bounded(ladder: Ladder, engine: Engine) -> None:
    one = FIRST[:, :1].nbytes * heat.NUM_SAMPLES
    rollouts = serving(ladder, engine, Settings("models", rollout_bytes=2 * one))
    with pytest.raises(TooLarge, match=f"got states of {3 * one} bytes"):
        rollouts.begin(asking(2, np.stack([FIRST] * 3)))

    async def go() -> None:
        held = rollouts.run(rollouts.begin(asking(2, np.stack([FIRST] * 2))))
        await anext(held)
        with pytest.raises(Unavailable, match=f"hold {2 * one} bytes of states, got {one} more"):
            rollouts.begin(asking(2))
        await held.aclose()
        rollouts.begin(asking(2))

    asyncio.run(go())


class Reader:
    """A client: what it was sent, which it takes while it is willing."""

    def __init__(self) -> None:
        self.willing = asyncio.Event()
        self.willing.set()
        self.sent: list[dict[str, Any]] = []
        self.lost = asyncio.Event()
        self.client = Client(whole=True)
        self._body: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    def leave(self) -> None:
        self.lost.set()
        self.client.leave()

    async def receive(self) -> dict[str, Any]:
        if self._body.empty():
            await self.lost.wait()
            return {"type": "http.disconnect"}
        return self._body.get_nowait()

    async def send(self, message: Any) -> None:
        await self.willing.wait()
        self.sent.append(message)

    async def ask(self, rollouts: Rollouts, settings: Settings = SETTINGS, **options: Any) -> None:
        body = {"inputs": FIRST.tolist(), "seed": SEED, **options}
        self._body.put_nowait({"type": "http.request", "body": json.dumps(body).encode(), "more_body": False})
        scope: Any = {"type": "http", "method": "POST", "path": "/rollout", "headers": [], "query_string": b""}
        scope["extensions"] = {CLIENT: self.client}
        endpoint = RolloutEndpoint(rollouts, settings, SimpleNamespace(count=lambda *_: None), Recorder([]))  # type: ignore[arg-type]
        await endpoint(scope, self.receive, self.send)  # type: ignore[arg-type]

    @property
    def frames(self) -> list[dict[str, Any]]:
        """Those that came whole."""
        text = b"".join(message.get("body", b"") for message in self.sent)
        return [json.loads(line) for line in text.splitlines()]

    @property
    def numbers(self) -> list[int]:
        """Of the steps that came."""
        return [frame["step"] for frame in self.frames if "step" in frame]


async def becomes(condition: Any) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.001)


def test_a_reader_that_stops_holds_its_own_rollout_only(ladder: Ladder, engine: Engine) -> None:
    rollouts = serving(ladder, engine)

    async def go() -> None:
        slow, quick = Reader(), Reader()
        task = asyncio.create_task(slow.ask(rollouts, steps=1000))
        await becomes(lambda: len(slow.numbers) > 2)
        slow.willing.clear()
        await asyncio.sleep(0)
        reached = rollouts.steps
        await quick.ask(rollouts, steps=5)
        assert quick.numbers == [1, 2, 3, 4, 5]
        assert rollouts.steps <= reached + 5 + 1  # the one that was under way
        assert not task.done()
        slow.leave()
        await task
        assert len(slow.numbers) < 1000

    asyncio.run(go())
    assert (rollouts.open, rollouts.bytes) == (0, 0)


def test_a_client_that_leaves_ends_its_rollout(ladder: Ladder, engine: Engine) -> None:
    rollouts = serving(ladder, engine)

    async def go() -> None:
        reader = Reader()
        task = asyncio.create_task(reader.ask(rollouts, steps=1000))
        await becomes(lambda: len(reader.numbers) > 2)
        reader.leave()
        await task

    asyncio.run(go())
    until(lambda: engine.statistics.waiting == 0)  # its last job is dropped when its turn comes
    assert (rollouts.open, rollouts.bytes) == (0, 0)
    assert rollouts.steps < 1000


def test_an_error_in_the_midst_is_the_last_frame(ladder: Ladder, engine: Engine) -> None:
    gate = Gate()
    gate.open.set()
    rollouts = serving(gate.guard(ladder), engine)

    async def broken() -> Reader:
        reader = Reader()
        task = asyncio.create_task(reader.ask(rollouts, steps=1000))
        await becomes(lambda: len(reader.numbers) > 2)
        gate.error = RuntimeError("out of memory")
        await task
        return reader

    reader = asyncio.run(broken())
    assert reader.sent[0]["status"] == 200
    assert not reader.sent[-1]["more_body"]
    assert reader.frames[-1] == {"error": "internal error", "status": 500}
    assert reader.numbers == list(range(1, len(reader.numbers) + 1))


def test_a_rollout_that_blows_up_says_so(ladder: Ladder, engine: Engine) -> None:
    """A state of 1e5 becomes one of about -1e14, then of 1e41, which is no float32."""
    rollouts = serving(ladder, engine)

    async def go() -> list[Reader]:
        readers = [Reader(), Reader()]
        for reader, size in zip(readers, (1e5, 1e15), strict=True):
            await reader.ask(rollouts, inputs=(size * FIRST).tolist(), steps=9)
        return readers

    later, at_once = asyncio.run(go())
    assert later.numbers == [1]
    assert later.frames[-1]["status"] == at_once.sent[0]["status"] == 400
    assert "step 2: the states are not finite" in later.frames[-1]["error"]
    assert "step 1: the states are not finite" in at_once.frames[-1]["error"]


def test_a_service_that_stops_says_so_in_the_last_frame(ladder: Ladder, engine: Engine) -> None:
    rollouts = serving(ladder, engine)

    async def go() -> Reader:
        reader = Reader()
        task = asyncio.create_task(reader.ask(rollouts, steps=1000))
        await becomes(lambda: len(reader.numbers) > 2)
        task.cancel()  # as uvicorn does once the time for draining is up
        await task
        return reader

    reader = asyncio.run(go())
    assert reader.frames[-1] == {"error": "the service is shutting down", "status": 503}


def test_a_step_has_a_deadline_of_its_own(ladder: Ladder, engine: Engine) -> None:
    """The first one's is an answer, since nothing was sent; a later one's the last frame."""
    gate = Gate()
    rollouts = serving(gate.guard(ladder), engine)

    async def go() -> Reader:
        held = Reader()
        await held.ask(rollouts, steps=2, timeout=0.05)
        assert held.sent[0]["status"] == 504
        gate.open.set()
        reader = Reader()
        task = asyncio.create_task(reader.ask(rollouts, steps=1000, timeout=0.5))
        await becomes(lambda: len(reader.numbers) > 2)
        gate.open.clear()
        await task
        gate.open.set()
        return reader

    last = asyncio.run(go()).frames[-1]
    assert last["status"] == 504
    assert "not computed within its deadline of 0.5 s" in last["error"]


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "more steps than are allowed": ({"steps": 1001}, "steps: got 1001, expected at most 1000"),
    "a stride that does not fit": ({"steps": 5, "stride": 2}, "expected a multiple of the stride, 2"),
    "an output of predictions": ({"steps": 1, "outputs": ["lower"]}, "got ['lower'], expected some of ['mean', "),
    "more draws than march": ({"steps": 1, "num_samples": 7}, "num_samples: got 7, expected at most 6"),
    "no steps": ({}, "missing required field `steps`"),
    "a level": ({"steps": 1, "level": 0.5}, "unknown field `level`"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_it_says_what_does_not_fit(ladder: Ladder, engine: Engine, case: str) -> None:
    options, message = REFUSED[case]
    rollouts = serving(ladder, engine)

    async def go() -> Reader:
        reader = Reader()
        await reader.ask(rollouts, **options)
        return reader

    reader = asyncio.run(go())
    assert reader.sent[0]["status"] in (400, 413)
    assert message in reader.frames[0]["error"]
