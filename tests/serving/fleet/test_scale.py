"""The number of replicas: policies within bounds, unless a person says otherwise."""

from types import SimpleNamespace
from typing import Any

import pytest

from serving.fleet.replicas.book import Bounds
from serving.fleet.scaling import Observation, ScalingConfig
from serving.fleet.scaling.config import RulesConfig, UtilisationConfig
from serving.fleet.supervisor.observe import observe
from serving.fleet.supervisor.scale import Scale
from serving.refusals import Refusal

CONFIG = ScalingConfig([UtilisationConfig(target=0.5)], down=RulesConfig(), spares=1)


def decided(scale: Scale, utilisation: float, time: float) -> int:
    scale.decide(Observation(time, scale.desired, scale.desired, utilisation=utilisation))
    return scale.desired


def test_policies_decide_within_the_bounds_of_the_config() -> None:
    scale = Scale(CONFIG, 1, 3, None, Bounds())
    assert scale.desired == 1
    assert decided(scale, 1.0, 1.0) == 2
    assert decided(scale, 1.0, 2.0) == 3
    assert decided(scale, 1.0, 3.0) == 3
    assert decided(scale, 0.01, 4.0) == 1
    assert scale.spares == 1


def test_a_clock_that_is_set_back_moves_nothing_but_timetables(monkeypatch: pytest.MonkeyPatch) -> None:
    roster: Any = SimpleNamespace(replicas={}, watches={})
    before = observe(1, roster, None, {})
    monkeypatch.setattr("time.time", lambda: 1000.0)
    after = observe(1, roster, None, {})
    assert before.time <= after.time < before.time + 60
    assert after.shown == 1000.0


def test_a_person_fixes_the_number_and_gives_it_back() -> None:
    scale = Scale(CONFIG, 1, 3, None, Bounds())
    scale.bound(Bounds(fixed=3))
    assert (scale.desired, scale.given) == (3, "fixed 3")
    assert decided(scale, 0.01, 1.0) == 3
    assert "policies want" in scale.decision.reason
    scale.bound(Bounds())
    assert (decided(scale, 0.5, 2.0), scale.given) == (3, "")


@pytest.mark.parametrize("fixed", [0, 5])
def test_a_number_that_no_replica_stands_for_is_refused_and_nothing_claims_it(fixed: int) -> None:
    scale = Scale(CONFIG, 1, 2, None, Bounds())
    with pytest.raises(Refusal, match=f"replicas: got {fixed}, expected 1 to 2"):
        scale.bound(Bounds(fixed=fixed))
    assert (scale.desired, scale.bounds) == (1, Bounds())
    scale.bound(Bounds(fixed=2))
    assert (scale.decision.before, scale.decision.desired) == (1, 2)  # neither says how many are there


def test_a_person_bounds_it_and_wrong_bounds_change_nothing() -> None:
    scale = Scale(CONFIG, 1, 3, 2, Bounds())
    assert scale.desired == 2
    scale.bound(Bounds(minimum=3, maximum=6))
    assert scale.desired == 3
    assert decided(scale, 2.0, 1.0) == 6
    with pytest.raises(Refusal, match="minimum: got 9, expected at most the maximum, 3"):
        scale.bound(Bounds(minimum=9))
    assert (scale.minimum, scale.maximum) == (3, 6)


def test_a_successor_goes_on_with_what_was_said() -> None:
    assert Scale(CONFIG, 1, 3, 1, Bounds(fixed=2)).desired == 2
    assert Scale(CONFIG, 1, 3, 5, Bounds(fixed=5)).given == "fixed 3"  # the config was another one
    assert Scale(CONFIG, 1, 3, 9, Bounds()).desired == 3
