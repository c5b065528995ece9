"""Answers through the service: held ones have the same bits, near ones are marked and promise nothing."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from serving.answers import Answer
from serving.cache import Cache
from serving.engine import Engine
from serving.ladder import Ladder
from serving.query import Options, Query
from serving.service import Service
from serving.wire import json, npy, v2
from tests import heat
from tests.serving.conftest import running

GRID = heat.grid(10, 11)
FIELD, _ = heat.wave(GRID, 1, 2)
BOUND = 1e-3


class OneModel:
    """A repository of it."""

    def __init__(self, ladder: Ladder) -> None:
        self._ladder = ladder

    def find(self, name: str | None, version: str | None = None) -> Ladder:
        return self._ladder


Make = Callable[[Cache], Service]


@pytest.fixture
def make(ladder: Ladder) -> Iterator[Make]:
    engine = Engine(queue_cases=10, operands_bytes=2**20, utilisation_window=60.0)
    yield lambda cache: Service(OneModel(ladder), engine, cache, 8, 60.0)  # type: ignore[arg-type]
    engine.close()


def ask(service: Service, *fields: Any, **options: Any) -> list[Answer]:
    options = {"outputs": ("mean", "lower", "upper", "samples"), **options}

    async def scenario() -> list[Answer]:
        asked: list[Awaitable[Answer]] = [service.answer(Query(Options(**options), field)) for field in fields]
        return [await answer for answer in asked]

    return asyncio.run(scenario())


@pytest.mark.parametrize("compressed", [False, True])
def test_a_held_answer_has_the_bits_of_the_computed_one(make: Make, compressed: bool) -> None:
    first, second, single = ask(make(Cache(10**7, compressed)), FIELD, FIELD, FIELD[None])
    assert [answer.cached for answer in (first, second, single)] == [False, True, True]
    assert first.approximate is None
    for name, array in first.arrays.items():
        assert array.tobytes() == second.arrays[name].tobytes() == single.arrays[name].tobytes()


def test_other_grids_seeds_and_cases_are_not_confused(make: Make) -> None:
    service = make(Cache(10**7))
    other = FIELD.reshape(11, 10, 1)  # the same bytes
    answers = ask(service, FIELD, other, np.stack([FIELD, other.reshape(FIELD.shape)]))
    assert not any(answer.cached for answer in answers)
    assert not ask(service, FIELD, seed=1)[0].cached
    assert ask(service, FIELD, seed=1, outputs=("mean",))[0].cached  # which does not depend on it


def test_near_inputs_are_answered_with_the_distance_and_without_a_guarantee(make: Make) -> None:
    service = make(Cache(10**7, approximate=BOUND))
    near, far = FIELD * np.float32(1 + BOUND / 2), FIELD * np.float32(1 + 2 * BOUND)
    exact, close, other, again = ask(service, FIELD, near, far, FIELD)
    assert (exact.approximate, other.approximate, again.approximate) == (None, None, None)
    assert [answer.cached for answer in (exact, close, other, again)] == [False, True, False, True]
    assert close.approximate is not None
    assert close.approximate.input_distance == pytest.approx(BOUND / 2, rel=1e-3)
    assert close.approximate.input_distance_bound == BOUND
    assert close.arrays["mean"].tobytes() == exact.arrays["mean"].tobytes()
    assert exact.interval is not None
    assert close.interval is not None
    assert (exact.interval.guarantee, close.interval.guarantee) == (heat.CALIBRATION, None)


def test_every_format_tells_that_an_answer_is_approximate(make: Make) -> None:
    service = make(Cache(10**7, approximate=BOUND))
    exact, close = ask(service, FIELD, FIELD * np.float32(1 + BOUND / 2))
    named = b'"input_distance_bound":0.001'
    request = v2.InferRequest(inputs=[])
    for answer, told in ((exact, False), (close, True)):
        assert (named in asyncio.run(json.encode_answer(answer))) == told
        assert (named in npy.encode_answer(answer)[1]["answer"].replace(": ", ":").encode()) == told
        assert (named in asyncio.run(v2.encode_answer(answer, request))[0]) == told


def test_the_settings_reach_the_cache(models: Path, tmp_path: Path) -> None:
    flags = ["--batch-sizes", "[1]", "--samples-batch-sizes", "[1]"]
    flags += ["--cache-compression", "on", "--cache-approximate", str(BOUND)]
    field = heat.wave(heat.grid(20, 24), 1, 2)[0]
    with running(models, tmp_path / "errors", *flags) as server:
        answers = [
            httpx.post(f"{server.url}/predict", json={"inputs": inputs.tolist()}, timeout=60).json()
            for inputs in (field, field * (1 + BOUND / 2))
        ]
        figures = httpx.get(f"{server.url}/stats").json()["cache"]
        metrics = httpx.get(f"{server.url}/monitoring/metrics").text
    assert answers[0]["approximate"] is None
    assert 0 < answers[1]["approximate"]["input_distance"] <= BOUND
    assert answers[0]["outputs"] == answers[1]["outputs"]
    assert (figures["approximate_hits"], figures["misses"], figures["entries"]) == (1, 1, 1)
    assert 0 < figures["bytes"] < figures["whole_bytes"] < figures["capacity_bytes"]
    assert "pnol_cache_approximate_hits_total 1.0" in metrics
