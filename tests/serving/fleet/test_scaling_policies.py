"""Sizes, forecasts and timetables against closed forms."""

import math
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from pnol_jax.errors import InputError
from serving.fleet.scaling import Observation, Scaler, ScalingConfig
from serving.fleet.scaling.config import (
    ForecastConfig,
    LatencyConfig,
    PrometheusConfig,
    QueueTimeConfig,
    ScheduleConfig,
    Weekday,
)
from serving.fleet.scaling.policies import policies_of
from serving.fleet.scaling.queues import chance_of_longer, chance_of_waiting, mean_wait, servers_for_mean
from serving.fleet.scaling.smoothing import HoltWinters, SeasonalNaive


@pytest.mark.parametrize("load", [0.1, 0.5, 0.9])
def test_one_server_waits_as_in_the_textbook(load: float) -> None:
    assert chance_of_waiting(1, load) == pytest.approx(load)
    assert mean_wait(1, load, 2.0) == pytest.approx(2.0 * load / (1 - load))  # M/M/1
    assert mean_wait(1, load, 2.0, 0.0) == pytest.approx(load / (1 - load))  # M/D/1, Pollaczek and Khinchine
    assert chance_of_longer(1, load, 2.0, 3.0) == pytest.approx(load * math.exp(-(1 - load) / 2 * 3))


@pytest.mark.parametrize(("servers", "load"), [(2, 1.5), (5, 4.0), (30, 25.0)])
def test_erlang_s_formula_by_its_sum(servers: int, load: float) -> None:
    last = load**servers / math.factorial(servers) * servers / (servers - load)
    expected = last / (sum(load**n / math.factorial(n) for n in range(servers)) + last)
    assert chance_of_waiting(servers, load) == pytest.approx(expected)


@pytest.mark.parametrize("load", [0.0, 0.3, 2.9, 17.0])
def test_as_few_servers_as_keep_the_target(load: float) -> None:
    servers = servers_for_mean(load, 0.25, 0.05)
    assert mean_wait(servers, load, 0.25) <= 0.05
    assert servers == 1 or mean_wait(servers - 1, load, 0.25) > 0.05


def test_queue_time_learns_the_service_and_works_off_what_waits() -> None:
    (policy,) = policies_of(ScalingConfig([QueueTimeConfig(target=0.1, within=4.0)]))
    quiet = policy.recommend(Observation(0.0, 4, 4, 10.0, 0.5, 0.0))  # 0.2 s a request
    assert quiet.desired == servers_for_mean(2.0, 0.2, 0.1)
    full = policy.recommend(Observation(2.0, 4, 4, 40.0, 1.0, 6.0))  # saturated: what was learnt stays
    assert full.desired == math.ceil((10 + 40) / 2 * 0.2 + 4 * 6.0 / 4.0)
    later = policy.recommend(Observation(11.0, 4, 4, 40.0, 1.0, 6.0))  # the first rate is more than 10 s old
    assert later.desired == math.ceil(40 * 0.2 + 4 * 6.0 / 4.0)


def test_a_queue_or_a_refusal_asks_for_one_more_whatever_was_learnt() -> None:
    (policy,) = policies_of(ScalingConfig([QueueTimeConfig(target=0.1, service_seconds=0.001)]))
    assert policy.recommend(Observation(1.0, 2, 2, 10.0, queue_seconds=0.09)).desired == 1
    assert policy.recommend(Observation(2.0, 2, 2, 10.0, queue_seconds=0.11)).desired == 3
    assert policy.recommend(Observation(3.0, 3, 2, 10.0, queue_seconds=0.11)).desired == 3  # one is on its way
    assert policy.recommend(Observation(4.0, 2, 2, 10.0, refused_per_second=1.0)).desired == 3
    assert policy.recommend(Observation(5.0, 2, 2, queue_seconds=0.11)).desired == 3  # the balancer is silent
    (slow,) = policies_of(ScalingConfig([QueueTimeConfig(target=0.1, service_seconds=0.5)]))
    assert slow.recommend(Observation(1.0, 1, 1, 0.1, queue_seconds=0.9)).desired == 1  # one or two that wait
    assert slow.recommend(Observation(2.0, 1, 1, 0.1, queue_seconds=1.1)).desired == 2


def test_latency_keeps_the_share_and_answers_what_is_measured() -> None:
    (policy,) = policies_of(ScalingConfig([LatencyConfig(objective=0.6, service_seconds=0.2, variability=1.0)]))
    desired = policy.recommend(Observation(0.0, 9, 9, 20.0)).desired or 0
    assert chance_of_longer(desired, 4.0, 0.2, 0.4) <= 0.01 < chance_of_longer(desired - 1, 4.0, 0.2, 0.4)
    assert policy.recommend(Observation(1.0, 9, 9, 20.0, p99_seconds=0.7)).desired == 10
    assert policy.recommend(Observation(2.0, 10, 9, 20.0, p99_seconds=0.7)).desired == 10  # one is on its way


@pytest.mark.parametrize("series", [HoltWinters(6, 0.3, 0.1, 0.2), SeasonalNaive(6)])
def test_forecasts_of_a_trend_and_a_season_are_exact(series: HoltWinters | SeasonalNaive) -> None:
    def value(time: int) -> float:
        return 50 + 0.5 * time + (3, -1, 0, 2, -4, 0)[time % 6]

    for time in range(12):
        series.add(value(time))
    for time in range(12, 40):
        assert [series.ahead(step) for step in (1, 2, 6, 11)] == pytest.approx(
            [value(time - 1 + step) for step in (1, 2, 6, 11)]
        )
        series.add(value(time))


def test_without_a_season_it_is_a_line() -> None:
    series = HoltWinters(0, 0.3, 0.1, 0.2)
    for time in range(10):
        series.add(3.0 + 2 * time)
    assert series.ahead(4) == pytest.approx(3 + 2 * 13)


def test_smoothing_forgets_a_level() -> None:
    series = HoltWinters(0, 0.5, 0.0, 0.0)
    for value in [0.0] * 5 + [8.0] * 3:
        series.add(value)
    assert series.ahead(1) == pytest.approx(7.0)  # 8 (1 - 1/2**3)


@pytest.mark.parametrize("method", ["holt_winters", "seasonal_naive"])
def test_the_forecast_is_ready_before_the_rise(method: str) -> None:
    config = ForecastConfig(
        method=method,  # type: ignore[arg-type]
        season_seconds=600.0, interval_seconds=60.0, horizon_seconds=60.0, target=0.5, service_seconds=0.1,
    )  # fmt: skip
    (policy,) = policies_of(ScalingConfig([config]))
    found = {}
    for second in range(0, 1800, 10):
        rate = 100.0 if second % 600 >= 300 else 10.0
        found[second] = policy.recommend(Observation(float(second), 1, 1, rate)).desired
    assert found[0] == 0  # no opinion yet
    assert [found[1200 + second] for second in (130, 250, 400)] == [2, 20, 20]


@pytest.mark.parametrize(
    ("days", "when", "holds"),
    [
        (("fri",), "2026-11-27 21:59", False),  # a Friday
        (("fri",), "2026-11-27 22:00", True),
        (("fri",), "2026-11-28 05:59", True),
        (("fri",), "2026-11-28 06:00", False),
        (("fri",), "2026-11-28 22:00", False),
        (("fri",), "2026-11-27 05:00", False),  # Thursday's night
    ],
)
def test_a_timetable_reaches_over_midnight(days: tuple[Weekday, ...], when: str, holds: bool) -> None:
    config = ScheduleConfig(start="22:00", end="06:00", replicas=7, days=days, zone="Europe/Berlin")
    time = datetime.fromisoformat(when).replace(tzinfo=ZoneInfo("Europe/Berlin")).timestamp()
    assert Scaler(ScalingConfig([config]), 1, 9).decide(Observation(time, 1, 1)).by[0].desired == (7 if holds else 0)


def test_a_timetable_follows_its_zone_in_summer_and_winter() -> None:
    (policy,) = policies_of(
        ScalingConfig([ScheduleConfig(start="08:00", end="18:00", replicas=3, zone="Europe/Berlin")])
    )
    for when, desired in [("2026-07-01 06:00", 3), ("2026-01-01 06:00", 0), ("2026-01-01 07:00", 3)]:
        time = datetime.fromisoformat(when).replace(tzinfo=ZoneInfo("UTC")).timestamp()
        assert policy.recommend(Observation(time, 1, 1)).desired == desired


def test_what_is_wrong_with_a_config_is_said() -> None:
    with pytest.raises(InputError, match="zone: got 'Mars'"):
        policies_of(ScalingConfig([ScheduleConfig(start="08:00", end="18:00", replicas=3, zone="Mars")]))
    with pytest.raises(ValueError, match="expected an address for prometheus"):
        ScalingConfig([PrometheusConfig(query="up", target=1.0)])
    schedules = [ScheduleConfig(start="08:00", end="18:00", replicas=3, name=name) for name in ("a", "a_1", "a")]
    with pytest.raises(ValueError, match="got 'a_1' as the name of two"):
        ScalingConfig([*schedules])
    assert ScalingConfig([*schedules[::2]]).names() == ["a_1", "a_2"]
