"""Requests in flight: closed forms, Knative's panic, a replay, and what Kubernetes is told."""

import math
from typing import Any

import numpy as np
import pytest

from pnol_jax import toml
from pnol_jax.errors import InputError
from serving.fleet.config import FleetConfig
from serving.fleet.kubernetes.manifests import manifests
from serving.fleet.kubernetes.policies import kept, left_out
from serving.fleet.scaling import Observation, Scaler, ScalingConfig
from serving.fleet.scaling.concurrency import Concurrency
from serving.fleet.scaling.config import ConcurrencyConfig, RulesConfig
from serving.fleet.scaling.simulation import Outcome, replay
from serving.fleet.scaling.traces import Trace
from serving.fleet.scaling.world import World

FREE = RulesConfig(tolerance=0.0)


def policy(**changes: Any) -> Concurrency:
    return Concurrency("concurrency", ConcurrencyConfig(**({"per_replica": 4.0} | changes)))


def asked(each: Concurrency, time: float, number: int | None, ready: int = 1) -> int | None:
    return each.recommend(Observation(time, ready, ready, open_requests=number)).desired


@pytest.mark.parametrize(("number", "desired"), [(0, 0), (1, 1), (4, 1), (5, 2), (8, 2), (41, 11)])
def test_each_replica_has_its_part(number: int, desired: int) -> None:
    assert asked(policy(panic=100.0), 0.0, number) == desired


def test_the_number_is_a_mean_over_the_window() -> None:
    each, numbers = policy(window_seconds=10.0, panic=100.0), np.random.default_rng(0).integers(0, 40, 50)
    for second, number in enumerate(numbers.tolist()):
        recent = numbers[max(0, second - 9) : second + 1]
        assert asked(each, float(second), number) == math.ceil(recent.mean() / 4)


def test_many_at_once_count_at_once_and_none_goes_for_a_window() -> None:
    each = policy(window_seconds=60.0, panic_seconds=6.0)
    assert [asked(each, float(second), 4) for second in range(100)] == [1] * 100
    found = [asked(each, 100.0 + second, 40, ready=1 + second) for second in range(6)]
    assert found == [math.ceil((4 * (5 - second) + 40 * (second + 1)) / 6 / 4) for second in range(6)]
    assert asked(each, 106.0, 44, ready=10) == 11  # more than before, though no longer twice what is ready
    after = {second: asked(each, float(second), 4, ready=11) for second in range(107, 200)}
    calm = min(second for second, desired in after.items() if desired != 11)
    last = max(100 + second for second in range(6) if (found[second] or 0) >= 2 * (1 + second))
    assert calm == last + 61
    assert calm == 163
    assert (after[calm], after[199]) == (math.ceil((2 * 40 + 44 + 57 * 4) / 60 / 4), 1)


def test_a_policy_without_a_past_takes_no_replica_away_for_a_window() -> None:
    each = policy(window_seconds=60.0)
    found = {second: asked(each, float(second), 0, ready=5) for second in range(70)}
    assert {found[second] for second in range(61)} == {5}
    assert found[61] == 0


def test_a_figure_that_is_missing_takes_none_away() -> None:
    config = ScalingConfig([ConcurrencyConfig(per_replica=4.0)], FREE, FREE)
    assert asked(policy(), 0.0, None) is None
    assert Scaler(config, 1, 9).decide(Observation(0.0, 5, 5)).desired == 5


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{kind='concurrency'}", "per_replica"),
        ("{kind='concurrency', per_replica=0}", "per_replica"),
        ("{kind='concurrency', per_replica=1, panic=0.5}", "panic"),
        (
            "{kind='concurrency', per_replica=1, window_seconds=5}",
            "panic_seconds: got 6, expected at most window_second",
        ),
        ("{kind='concurrency', per_replica=1, target=2}", "target"),
    ],
)
def test_what_is_wrong_with_its_options_is_said(line: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        toml.parse(toml.overridden({}, (f"scaling.policies=[{line}]",), FleetConfig), FleetConfig, "config")


def played(times: list[float], rates: list[float], **changes: Any) -> Outcome:
    config = ScalingConfig([ConcurrencyConfig(**({"per_replica": 0.5} | changes))], FREE, FREE, spares=0)
    trace = Trace("steps", np.array(times), np.array(rates), 900.0)
    return replay(trace, Scaler(config, 1, 200).decide, World(service_seconds=0.25, start_seconds=5.0), 10, seed=1)


def test_a_replay_has_rate_times_duration_in_flight() -> None:
    """Little's law: at 40 requests a second of 0.25 s, which do not wait, 10 are in flight."""
    outcome = played([0.0], [40.0])
    desired = [moment.desired for moment in outcome.line if moment.time > 300]
    assert np.mean(desired) == pytest.approx(10 / 0.5 + 0.5, abs=1.0)  # rounded up
    assert outcome.share < 0.05


def test_the_short_window_follows_a_step_sooner() -> None:
    found = {}
    for panic in (2.0, 100.0):  # from 2 to 10 in flight, with replicas enough for either, so that none waits
        line = played([0.0, 400.0, 600.0], [8.0, 40.0, 8.0], panic=panic, per_replica=0.1).line
        found[panic] = next(moment.time for moment in line if moment.time > 400 and moment.desired >= 70)
        assert line[-1].desired < 40
    assert found[2.0] < 410
    assert found[100.0] > 425


def test_kubernetes_is_told_the_same_number_by_little_s_law() -> None:
    policies = [{"kind": "concurrency", "per_replica": 8.0, "window_seconds": 45.0}, {"kind": "queue_time"}]
    tree = {"minimum": 1, "maximum": 3, "serving": {"models": "here"}, "kubernetes": {"image": "pnol:1"}}
    fleet = toml.parse(tree | {"scaling": {"policies": policies}}, FleetConfig, "test")
    assert (kept(fleet), left_out(fleet)) == (["pnol_in_flight_concurrency"], ["queue_time"])
    (metric,) = manifests(fleet)["autoscaler"]["spec"]["metrics"]
    assert metric["external"]["target"] == {"type": "AverageValue", "averageValue": "8000m"}
    rules = [rule for group in manifests(fleet)["rules"]["spec"]["groups"] for rule in group["rules"]]
    (rule,) = (rule for rule in rules if rule.get("record") == "pnol:in_flight:concurrency")
    assert rule["expr"].startswith("sum by (instance, namespace) (rate(pnol_request_seconds_sum{")
    assert rule["expr"].endswith("[45s]))")
