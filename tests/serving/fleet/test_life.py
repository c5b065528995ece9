"""A replica's life: it goes from start to end by what is seen of it, and never back."""

import itertools
import signal

import pytest
from msgspec.structs import replace

from serving.fleet.identity import Identity
from serving.fleet.replicas.config import ReplicasConfig
from serving.fleet.replicas.life import Phase, Replica, Seen, Send, advance, drain, kill, stop

CONFIG = ReplicasConfig(start_seconds=10, drain_seconds=5, stop_seconds=3)
NEW = Replica("r1", 8000, Identity(1, 2), release=1, spawned=100.0, since=100.0)
ORDER = list(Phase)


def signals(orders: object) -> list[signal.Signals]:
    assert isinstance(orders, tuple)
    return [order.signal for order in orders if isinstance(order, Send)]


def test_it_starts_warms_and_is_ready() -> None:
    replica, orders = advance(NEW, Seen(101.0), CONFIG)
    assert (replica, orders) == (NEW, ())
    replica, _ = advance(replica, Seen(102.0, answers=True), CONFIG)
    assert (replica.phase, replica.since) == (Phase.WARMING, 102.0)
    replica, orders = advance(replica, Seen(103.0, answers=True, ready=True), CONFIG)
    assert (replica.phase, replica.ready_at) == (Phase.READY, 103.0)
    assert not signals(orders)


@pytest.mark.parametrize("phase", [Phase.STARTING, Phase.WARMING])
def test_one_that_takes_too_long_is_ended_counted_from_its_beginning(phase: Phase) -> None:
    coming = replace(NEW, phase=phase, since=109.0)
    assert advance(coming, Seen(109.9, answers=True), CONFIG)[0].coming
    late, orders = advance(coming, Seen(110.0, answers=True), CONFIG)
    assert late.phase is Phase.STOPPING
    assert signals(orders) == [signal.SIGTERM]


def test_draining_ends_when_nothing_is_open_or_time_is_up() -> None:
    ready = replace(NEW, phase=Phase.READY, serving=True)
    draining, orders = drain(ready, 200.0, "fewer are wanted")
    assert not draining.serving
    assert not signals(orders)
    assert advance(draining, Seen(204.9, open_requests=2), CONFIG) == (draining, ())
    assert advance(draining, Seen(204.9, open_requests=None), CONFIG) == (draining, ())
    for seen in (Seen(200.1, open_requests=0), Seen(205.0, open_requests=2)):
        stopping, orders = advance(draining, seen, CONFIG)
        assert (stopping.phase, stopping.why) == (Phase.STOPPING, "fewer are wanted")
        assert signals(orders) == [signal.SIGTERM]


def test_one_without_requests_leaves_at_once() -> None:
    leaving, orders = drain(NEW, 101.0, "fewer are wanted")
    assert leaving.phase is Phase.STOPPING
    assert signals(orders) == [signal.SIGTERM]


def test_one_that_does_not_end_is_killed_again_and_again() -> None:
    stopping, _ = stop(NEW, 200.0, "asked to")
    assert advance(stopping, Seen(202.9), CONFIG) == (stopping, ())
    for now in (203.0, 206.0):
        stopping, orders = advance(stopping, Seen(now), CONFIG)
        assert signals(orders) == [signal.SIGKILL]
    assert signals(kill(NEW, 200.0, "hangs")[1]) == [signal.SIGKILL]


def test_from_any_phase_whatever_is_seen_nothing_goes_back_and_the_dead_get_nothing() -> None:
    seens = [
        Seen(now, alive, answers, ready, open_requests)
        for now, (alive, answers, ready), open_requests in itertools.product(
            (100.0, 104.0, 300.0), itertools.product((True, False), repeat=3), (None, 0, 1)
        )
    ]
    for phase, seen, serving in itertools.product(Phase, seens, (True, False)):
        before = replace(NEW, phase=phase, serving=serving and phase is Phase.READY)
        after, orders = advance(before, seen, CONFIG)
        assert ORDER.index(after.phase) >= ORDER.index(phase)
        assert not after.serving or after.phase is Phase.READY
        if not seen.alive:
            assert after.phase is Phase.GONE
            assert not signals(orders)
