"""Several devices in one process: the same answers on each, and each job where its policy says."""

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from serving.costs import Costs
from serving.engine import Engine, Job
from serving.engine.choice import make_choice
from serving.engine.replicas import Replicas
from serving.ladder import Ladder
from tests import heat
from tests.devices import flags

GRID = heat.grid(9, 10)
DEVICES = """
import asyncio, sys
import jax, numpy as np
from pnol_jax.servable import load_servable
from serving.engine import Engine, Job, Replicas
from serving.ladder import compile_ladder
from tests import heat

devices = jax.local_devices()
assert len(devices) == 3
ladder = compile_ladder(load_servable(sys.argv[1]), {"moments": (1, 2), "samples": (1,)}, devices=devices)
replicas = Replicas([Engine(100, 2**20, 60.0, device=device) for device in devices], "round_robin")
grid = heat.grid(9, 10)

async def scenario():
    for answer in ("moments", "samples"):
        job = Job(ladder, ladder.places.uniform((9, 10)), answer, heat.wave(grid, 1, 2)[0][None], seed=3)
        answers = [await replicas.submit(job) for _ in range(6)]
        for other in answers[1:]:
            for name, array in answers[0].items():
                np.testing.assert_array_equal(array, other[name])

asyncio.run(scenario())
for engine, device in zip(replicas.engines, devices):
    assert engine.statistics.cases == 4, engine.statistics
    assert len(engine._operands._recent) == 1
    operands = engine._operands.stacked([ladder.places.uniform((9, 10))], 1)
    assert len(engine._operands._recent) == 1
    assert {leaf.device for leaf in operands.values()} == {device}
replicas.close()
"""


def test_every_device_gives_the_same_answers_with_operands_of_its_own(ladder: Ladder, models: Any) -> None:
    command = [sys.executable, "-c", DEVICES, str(models / "heat" / "1")]
    environment = os.environ | {"XLA_FLAGS": flags(3), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture
def engines() -> Iterator[list[Engine]]:
    engines = [Engine(queue_cases=100, operands_bytes=2**20, utilisation_window=60.0) for _ in range(3)]
    yield engines
    for engine in engines:
        engine.close()


def costing(ladder: Ladder, *seconds: float) -> Ladder:
    """On three devices of different speed, as they say."""
    each = [replace(ladder, costs={kind: Costs.of({1: s, 4: 4 * s}) for kind in ladder.costs}) for s in seconds]
    return replace(each[0], others=tuple(each[1:]))


def job(ladder: Ladder) -> Job:
    return Job(ladder, ladder.places.uniform((9, 10)), "moments", heat.wave(GRID, 1, 2)[0][None])


def test_round_robin_takes_turns_and_weights_follow_speed(ladder: Ladder, engines: list[Engine]) -> None:
    asked = job(costing(ladder, 1.0, 2.0, 4.0))
    turns = make_choice("round_robin", engines)
    assert [turns(asked) for _ in range(6)] == [0, 1, 2, 0, 1, 2]
    weighted = make_choice("weighted", engines)
    chosen = [weighted(asked) for _ in range(70)]
    assert [chosen.count(number) for number in range(3)] == [40, 20, 10]
    assert chosen[:7].count(0) == 4  # smoothly: not the fast one forty times in a row


def test_the_least_outstanding_and_the_first_to_be_done_are_not_the_same(ladder: Ladder, engines: list[Engine]) -> None:
    gate, entered = threading.Event(), threading.Event()

    def held(*arguments: Any) -> Any:
        entered.set()
        assert gate.wait(60)
        return ladder.programs[bucket, "moments", len(arguments[0])](*arguments)

    asked = costing(ladder, 1.0, 5.0, 100.0)
    bucket = asked.places.uniform((9, 10)).bucket
    slow = replace(asked, programs=dict.fromkeys(asked.programs, held))

    async def scenario() -> None:
        waiting = [engines[0].submit(job(slow)) for _ in range(2)]
        await asyncio.to_thread(entered.wait, 60)
        assert engines[0].outstanding == 2
        assert make_choice("least_outstanding", engines)(job(asked)) == 1
        assert (
            make_choice("expected", engines)(job(asked)) == 0
        )  # one second under way, one waits, one of its own: 3 < 5
        waiting += [engines[0].submit(job(slow)) for _ in range(3)]
        assert make_choice("expected", engines)(job(asked)) == 1
        gate.set()
        await asyncio.gather(*waiting)

    asyncio.run(scenario())


def test_figures_are_of_all_devices_together(ladder: Ladder, engines: list[Engine]) -> None:
    replicas = Replicas(engines, "round_robin")

    async def scenario() -> None:
        asked = job(replace(ladder, others=(ladder, ladder)))
        answers = await asyncio.gather(*(replicas.submit(asked) for _ in range(6)))
        for answer in answers:
            np.testing.assert_allclose(answer["mean"][0], heat.wave(GRID, 1, 2)[1], atol=1e-6)

    asyncio.run(scenario())
    assert [engine.statistics.cases for engine in engines] == [2, 2, 2]
    assert (replicas.statistics.cases, replicas.statistics.waiting, replicas.alive) == (6, 0, True)
