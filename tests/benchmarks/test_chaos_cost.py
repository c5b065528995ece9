"""What chaos says a fault cost: each request counts for the fault that hurt it, and what came back late for none."""

import math
from types import SimpleNamespace
from typing import Any, cast

import pytest

from benchmarks.chaos import Looks
from benchmarks.chaos_load import Call, longest, window

LATE = 0.25


def test_a_late_answer_counts_for_the_fault_before_it_became_late() -> None:
    calls = [Call(9.9, 10.6), Call(16.9, 17.6), Call(17.5, 17.51)]
    assert window(calls, 10, 17, LATE) == pytest.approx(0.6)
    assert window(calls, 17, 30, LATE) == pytest.approx(0.6)
    assert longest(calls, 10, 17) == pytest.approx(0.7)


def test_an_error_counts_however_soon_it_came_and_an_answer_in_time_never() -> None:
    assert window([Call(10.0, 10.1), Call(10.2, 10.3, "lost")], 10, 17, LATE) == pytest.approx(0.3)
    assert window([Call(10.0, 10.1)], 10, 17, LATE) == 0
    assert Call(10.0, 10.1).hurt(LATE) == math.inf


def test_a_fleet_has_recovered_after_the_last_look_that_found_it_lacking_even_beyond_the_next_fault() -> None:
    looks = Looks(cast(Any, None), cast(Any, SimpleNamespace()))
    looks.seen = [(10.1, False, False), (10.2, True, False), (10.3, False, False), (10.4, True, False)]
    looks.seen += [(17.1, True, True)]
    assert looks.settled(10, 17, 1) == pytest.approx(0.4)
    assert looks.settled(10, 17, 2) == pytest.approx(7.1)
    assert looks.settled(17, 30, 1) == 0
    looks.seen.append((18.0, False, False))
    assert looks.settled(17, 30, 1) is None
