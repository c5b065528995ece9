"""A minute of chaos, as `benchmarks.chaos` has ten of it: no caller loses an answer, and the fleet becomes whole."""

from pathlib import Path

import pytest

from benchmarks.chaos import ordeal
from benchmarks.chaos_faults import FAULTS, impossible

pytestmark = pytest.mark.slow


def test_nothing_is_lost_and_all_recovers(haproxy: None, tmp_path: Path) -> None:
    lacking = impossible()
    callers, costs = ordeal(tmp_path, [name for name in FAULTS if name not in lacking], minutes=1.0, seed=1)
    assert len(costs) >= 4
    assert callers.calls
    assert not callers.lost()
    assert all(cost.recovery is not None for cost in costs), costs
