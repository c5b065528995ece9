"""Who comes next: by priority, then fairly between models, then by arrival."""

import asyncio
import dataclasses
import weakref

import msgspec
import numpy as np
import pytest

from pnol_jax.servable import case_keys
from serving.costs import Costs
from serving.engine.jobs import Job, Priority, Ticket
from serving.engine.queue import Queue
from serving.engine.statistics import EngineStatistics
from serving.ladder import Ladder

COSTS = {1: 1.0, 2: 1.2, 4: 1.6}


def named(ladder: Ladder, name: str) -> Ladder:
    """The same programs under another model's name."""
    manifest = msgspec.structs.replace(ladder.servable.manifest, name=name)
    servable = dataclasses.replace(ladder.servable, manifest=manifest)
    return dataclasses.replace(ladder, servable=servable, costs={kind: Costs.of(COSTS) for kind in ladder.costs})


def ticket(ladder: Ladder, cases: int = 1, priority: Priority = "normal") -> Ticket:
    place = ladder.places.uniform((10, 10))
    job = Job(ladder, place, "moments", np.zeros((cases, 10, 10, 1), np.float32), priority=priority)
    return Ticket(job, asyncio.new_event_loop().create_future(), case_keys(0, cases), cases)


def drain(queue: Queue, batches: int) -> list[tuple[str, int]]:
    """The model and cases of so many batches."""
    found = []
    for _ in range(batches):
        lane = queue.next()
        found.append((lane.model, len(queue.take(lane))))
    return found


def test_a_flood_of_one_model_does_not_hold_up_another(ladder: Ladder) -> None:
    queue, busy, quiet = Queue(EngineStatistics()), named(ladder, "busy"), named(ladder, "quiet")
    queue.push(ticket(busy, 40))
    assert drain(queue, 2) == [("busy", 4), ("busy", 4)]
    queue.push(ticket(quiet, 2))
    assert drain(queue, 2) == [("quiet", 2), ("busy", 4)]


def test_a_model_that_was_away_claims_nothing_for_that_time(ladder: Ladder) -> None:
    queue, first, second = Queue(EngineStatistics()), named(ladder, "first"), named(ladder, "second")
    queue.push(ticket(second, 4))
    queue.push(ticket(first, 40))
    drain(queue, 8)
    queue.push(ticket(second, 12))
    served = [model for model, _ in drain(queue, 6)]
    assert served.count("first") == served.count("second") == 3


def test_what_is_urgent_comes_first_and_fills_up_with_what_is_not(ladder: Ladder) -> None:
    queue, model = Queue(EngineStatistics()), named(ladder, "model")
    low, normal, high = ticket(model, 3, "low"), ticket(model, 3), ticket(model, 2, "high")
    for each in (low, normal, high):
        queue.push(each)
    taken = queue.take(queue.next())
    assert [one for one, _ in taken] == [high, high, normal, normal]
    taken = queue.take(queue.next())
    assert [one for one, _ in taken] == [normal, low, low, low]
    assert not queue


def test_what_waits_is_priced_and_who_is_gone_takes_no_place(ladder: Ladder) -> None:
    statistics = EngineStatistics()
    queue, model = Queue(statistics), named(ladder, "model")
    gone, stays = ticket(model, 6), ticket(model, 3)
    queue.push(gone)
    queue.push(stays)
    assert statistics.waiting == 9
    assert statistics.waiting_seconds == pytest.approx(9 * 0.4)
    gone.future.cancel()
    assert [one for one, _ in queue.take(queue.next())] == [stays] * 3
    assert (statistics.waiting, statistics.waiting_seconds) == (0, 0.0)


def test_lanes_of_a_version_that_went_are_let_go(ladder: Ladder) -> None:
    queue, model = Queue(EngineStatistics()), named(ladder, "model")
    queue.push(ticket(model))
    queue.forget(model)
    assert drain(queue, 1) == [("model", 1)]
    gone = weakref.ref(model)
    del model
    assert gone() is None
