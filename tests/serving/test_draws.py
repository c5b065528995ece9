"""More draws than a program makes: several runs, of which the first is what fewer draws give."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from pnol_jax.servable import case_keys
from serving.answers import Answer
from serving.cache import Cache
from serving.draws import APART
from serving.engine import Engine
from serving.ladder import Ladder
from serving.query import Options, Query
from serving.refusals import Refusal
from serving.service import Service
from tests import heat
from tests.serving.test_cache_service import OneModel

FIELD = heat.wave(heat.grid(10, 11), 1, 2)[0]
MADE = 6  # draws of heat's program


@pytest.fixture
def ask(ladder: Ladder) -> Iterator[Callable[..., Answer]]:
    engine = Engine(queue_cases=64, operands_bytes=2**20, utilisation_window=60.0)
    service = Service(OneModel(ladder), engine, Cache(10**7), 8, 60.0)  # type: ignore[arg-type]

    def ask(field: Any = FIELD, **options: Any) -> Answer:
        return asyncio.run(service.answer(Query(Options(outputs=("samples", "mean"), **options), np.asarray(field))))

    yield ask
    engine.close()


def test_the_first_are_those_of_fewer_and_no_two_are_alike(ask: Callable[..., Answer]) -> None:
    few, many = (ask(seed=5, num_samples=number).arrays["samples"] for number in (MADE, 15))
    assert many.shape == (15, 10, 11, 1)
    np.testing.assert_array_equal(many[:MADE], few)
    assert len({draw.tobytes() for draw in many}) == 15


def test_they_have_the_law_of_the_model_and_are_cached_run_by_run(ask: Callable[..., Answer]) -> None:
    answer = ask(seed=1, num_samples=48)
    assert not answer.cached
    again = ask(seed=1, num_samples=13)
    assert again.cached
    np.testing.assert_array_equal(again.arrays["samples"], answer.arrays["samples"][:13])
    mean, draws = answer.arrays["mean"], answer.arrays["samples"]
    spread = draws.std(0, ddof=1)
    z = np.abs(draws.mean(0) - mean) / (spread / np.sqrt(48))
    assert np.mean(z < 3) > 0.9


def test_a_case_among_others_has_draws_of_its_own_place(ask: Callable[..., Answer]) -> None:
    both = ask(np.stack([FIELD, FIELD]), seed=5, num_samples=9).arrays["samples"]
    np.testing.assert_array_equal(both[0], ask(seed=5, num_samples=9).arrays["samples"])
    assert not np.array_equal(both[0], both[1])


def test_more_than_a_request_may_have_are_refused_with_the_number_that_it_may(ask: Callable[..., Answer]) -> None:
    with pytest.raises(Refusal, match="num_samples: got 49, expected at most 48 for 1 cases"):
        ask(num_samples=49)
    with pytest.raises(Refusal, match="num_samples: got 25, expected at most 24 for 2 cases"):
        ask(np.stack([FIELD, FIELD]), num_samples=25)


def test_positions_of_different_runs_never_meet() -> None:
    keys = np.concatenate([case_keys(3, 256, None, run * APART) for run in range(64)])
    assert len(np.unique(keys, axis=0)) == len(keys)
