"""Waiting for one case more: not where one comes at a time, and not longer than a burst lasts."""

import pytest

from serving.engine import patience
from serving.engine.patience import PAUSE, Patience

SAVING = 1e-3


class Clock:
    """Time that passes when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(patience.time, "monotonic", lambda: self.now)


def burst(clock: Clock, lane: Patience, cases: int, gap: float) -> None:
    for _ in range(cases):
        clock.now += gap
        lane.arrived(SAVING)


def eight_and_then_three(clock: Clock, lane: Patience, gap: float) -> None:
    """Many bursts of eight cases, and the beginning of another."""
    for _ in range(30):
        clock.now += 0.05
        burst(clock, lane, 8, gap)
        lane.went(8)
    clock.now += 0.05
    burst(clock, lane, 3, gap)


def test_at_low_load_nothing_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, lane = Clock(monkeypatch), Patience()
    for _ in range(20):
        burst(clock, lane, 1, 0.1)
        assert lane.seconds(1, SAVING) == 0.0
        lane.went(1)


def test_clients_that_come_together_are_waited_for_and_no_one_else(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, lane, gap = Clock(monkeypatch), Patience(), 1e-4
    eight_and_then_three(clock, lane, gap)
    assert lane.seconds(3, SAVING) == pytest.approx(PAUSE * gap, rel=0.2)
    burst(clock, lane, 5, gap)
    assert lane.seconds(8, SAVING) == 0.0


def test_a_burst_that_is_over_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, lane, gap = Clock(monkeypatch), Patience(), 1e-4
    eight_and_then_three(clock, lane, gap)
    clock.now += 5 * gap
    assert lane.seconds(3, SAVING) == 0.0


def test_fewer_clients_are_learnt(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, lane = Clock(monkeypatch), Patience(level=8.0, gap=1e-4)
    for _ in range(40):
        clock.now += 0.05
        burst(clock, lane, 2, 1e-4)
        lane.went(2)
    assert lane.seconds(2, SAVING) == 0.0


def test_nobody_waits_for_what_saves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, lane = Clock(monkeypatch), Patience(level=8.0, gap=1e-4)
    burst(clock, lane, 1, 1e-4)
    assert lane.seconds(1, 0.0) == 0.0
