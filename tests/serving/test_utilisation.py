"""The busy share is the share of time spent working, and the replicas follow the stated formula."""

import math

import pytest

from serving.monitoring import utilisation
from serving.monitoring.utilisation import BusyTime, recommended_replicas


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.25]
    monkeypatch.setattr(utilisation.time, "monotonic", lambda: now[0])
    return now


def work(busy: BusyTime, clock: list[float], seconds: int, share: float) -> None:
    """Work in pieces of 10 ms, this share of the time."""
    for _ in range(100 * seconds):
        busy.add(clock[0], clock[0] + 0.01 * share)
        clock[0] += 0.01


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("seconds", [3, 100])
def test_the_share_of_steady_work_is_found(clock: list[float], share: float, seconds: int) -> None:
    busy = BusyTime(window=20.0)
    work(busy, clock, seconds, share)
    assert busy.share() == pytest.approx(share, abs=0.06)  # a second of the window's twenty may be counted in or out


def test_what_was_before_the_window_is_forgotten(clock: list[float]) -> None:
    busy = BusyTime(window=20.0)
    work(busy, clock, 30, 1.0)
    clock[0] += 10
    assert busy.share() == pytest.approx(0.5, abs=0.06)
    clock[0] += 20
    assert busy.share() == 0.0


@pytest.mark.parametrize(("utilised", "backlog"), [(0.0, 0.0), (0.69, 0.0), (0.71, 0.0), (1.0, 0.0), (1.0, 120.0)])
def test_the_replicas_follow_the_formula(utilised: float, backlog: float) -> None:
    names = {"utilisation": utilised, "backlog_seconds": backlog, "window_seconds": 60.0, "utilisation_target": 0.7}
    expected = eval(utilisation.FORMULA, {"ceil": math.ceil, "max": max}, names)  # noqa: S307  the text is ours
    assert recommended_replicas(utilised, backlog, 60.0, 0.7) == expected
