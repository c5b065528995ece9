"""Windows, steps, bounds, several policies at once, missing figures, spares and sleep."""

import itertools

import pytest

from serving.fleet.scaling import Observation, Scaler, ScalingConfig
from serving.fleet.scaling.config import RequestsConfig, RulesConfig, ScheduleConfig, StepConfig, UtilisationConfig

EACH = RequestsConfig(per_replica=10.0)
FREE = RulesConfig(tolerance=0.0)


def at(time: float, replicas: int, rate: float | None, utilisation: float | None = None) -> Observation:
    return Observation(time, replicas, replicas, rate, utilisation, open_requests=0)


def run(scaler: Scaler, rates: list[float], replicas: int, seconds: float = 10.0) -> list[int]:
    found = []
    for number, rate in enumerate(rates):
        replicas = scaler.decide(at(number * seconds, replicas, rate)).desired
        found.append(replicas)
    return found


def test_down_only_when_the_window_has_passed() -> None:
    config = ScalingConfig([EACH], FREE, RulesConfig(30.0, 0.0))
    assert run(Scaler(config, 1, 9), [60, 20, 20, 20, 20, 20], 6) == [6, 6, 6, 2, 2, 2]


def test_up_only_when_the_window_has_passed() -> None:
    config = ScalingConfig([EACH], RulesConfig(30.0, 0.0), FREE)
    assert run(Scaler(config, 1, 9), [20, 60, 50, 60, 60, 60], 2) == [2, 2, 2, 5, 5, 6]


def test_steps_count_over_their_periods() -> None:
    two, half = StepConfig("pods", 2, 20.0), StepConfig("percent", 50, 20.0)
    rules = {"max": [5, 5, 8, 8, 9], "min": [4, 4, 6, 6, 8], "disabled": [2, 2, 2, 2, 2]}
    for select, expected in rules.items():
        config = ScalingConfig([EACH], RulesConfig(0.0, 0.0, select, [two, StepConfig("percent", 150, 20.0)]), FREE)
        if select == "max":
            config = ScalingConfig([EACH], RulesConfig(0.0, 0.0, select, [StepConfig("pods", 3, 20.0), half]), FREE)
        assert run(Scaler(config, 1, 9), [90] * 5, 2) == expected


def test_steps_down() -> None:
    config = ScalingConfig(
        [EACH], FREE, RulesConfig(0.0, 0.0, "min", [StepConfig("percent", 50), StepConfig("pods", 3)])
    )
    assert run(Scaler(config, 1, 20), [10] * 6, 16, seconds=15.0) == [13, 10, 7, 4, 2, 1]


def test_bounds() -> None:
    scaler = Scaler(ScalingConfig([EACH], FREE, FREE), 2, 5)
    assert run(scaler, [1000, 0, 30], 3) == [5, 2, 3]
    assert scaler.decide(at(100.0, 9, 30.0)).desired == 5
    assert scaler.decide(at(110.0, 1, 30.0)).desired == 2


def test_the_largest_of_several_wins_and_says_why() -> None:
    scaler = Scaler(ScalingConfig([EACH, UtilisationConfig(target=0.5)], FREE, FREE), 1, 20)
    for rate, share, desired, who in [(80.0, 0.5, 8, "requests"), (10.0, 1.0, 8, "utilisation")]:
        decision = scaler.decide(at(rate, 4, rate, share))
        assert decision.desired == desired
        assert decision.reason.startswith(who)
        assert max(said.desired or 0 for said in decision.by) == desired


def test_without_a_figure_others_may_only_add() -> None:
    scaler = Scaler(ScalingConfig([EACH, UtilisationConfig(target=0.5)], FREE, FREE), 1, 20)
    assert scaler.decide(at(0.0, 4, 80.0)).desired == 8
    assert scaler.decide(at(1.0, 4, 10.0)).desired == 4
    assert scaler.decide(at(2.0, 4, None)).desired == 4


def test_names_tell_policies_of_a_kind_apart() -> None:
    night = ScheduleConfig(start="22:00", end="06:00", replicas=1)
    assert ScalingConfig([night, EACH, night]).names() == ["schedule_1", "requests", "schedule_2"]


def test_spares_lie_beside_the_others_and_beside_the_maximum() -> None:
    scaler = Scaler(ScalingConfig([EACH], FREE, FREE, spares=2), 1, 5)
    found = [scaler.decide(at(time, 2, rate)) for time, rate in ((0.0, 20.0), (1.0, 40.0), (2.0, 90.0))]
    assert [(decision.desired, decision.spares) for decision in found] == [(2, 2), (4, 2), (5, 2)]


def test_none_after_an_idle_time_and_one_for_a_request() -> None:
    scaler = Scaler(ScalingConfig([EACH], FREE, FREE, idle_seconds=30.0), 0, 5)
    assert run(scaler, [20, 0, 0, 0, 0, 0], 2) == [2, 1, 1, 0, 0, 0]
    woken = Observation(100.0, 0, 0, requests_per_second=0.0, open_requests=1)
    assert scaler.decide(woken).desired == 1


def test_a_fleet_that_starts_idle_waits_before_it_sleeps() -> None:
    scaler = Scaler(ScalingConfig([EACH], FREE, FREE, idle_seconds=30.0), 0, 5)
    assert run(scaler, [0, 0, 0, 0], 1) == [1, 1, 1, 0]


@pytest.mark.parametrize("rates", [*itertools.permutations([0.0, 35.0, 500.0])])
def test_never_outside_the_bounds(rates: tuple[float, ...]) -> None:
    found = run(Scaler(ScalingConfig(), 1, 4), [rate for rate in rates for _ in range(5)], 2)
    assert set(found) <= {1, 2, 3, 4}
