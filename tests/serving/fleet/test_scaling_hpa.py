"""With Kubernetes' settings our scaler decides as its autoscaler does, which is written down pod by pod beside it."""

import numpy as np
import pytest

from benchmarks.autoscale_hpa import HPA
from serving.fleet.scaling import Observation, Scaler, hpa
from serving.fleet.scaling.config import AnyPolicy, PrometheusConfig, RequestsConfig, UtilisationConfig


def seen(time: float, replicas: int, values: list[float], ready: int) -> Observation:
    mean = sum(values) / len(values) if values else None
    return Observation(time, replicas, ready, utilisation=mean, reporting=len(values))


@pytest.mark.parametrize("seed", range(60))
def test_the_same_decisions_on_random_traces(seed: int) -> None:
    random = np.random.default_rng(seed)
    target, minimum = float(random.choice([0.5, 0.7, 0.8])), int(random.integers(1, 4))
    maximum = minimum + int(random.integers(0, 30))
    ours, theirs = Scaler(hpa([UtilisationConfig(target=target)]), minimum, maximum), HPA(target, minimum, maximum)
    time, replicas, moves = 0.0, int(random.integers(1, maximum + 3)), 0
    for _ in range(400):
        time += float(random.choice([5.0, 15.0, 15.0, 15.0, 120.0, 300.0]))
        unready = int(random.integers(0, replicas + 1)) if random.random() < 0.3 else 0
        missing = int(random.integers(0, replicas - unready + 1)) if random.random() < 0.3 else 0
        alike = random.random() < 0.5  # half of them where the ratio may be a boundary
        shares = random.choice([0.35, 0.45, 0.5, 0.55, 0.63, 0.7, 0.77, 0.8, 0.88, 1.0], 1).repeat(replicas)
        values = (shares if alike else random.uniform(0, 1, replicas))[: replicas - unready - missing].tolist()
        decision = ours.decide(seen(time, replicas, values, replicas - unready))
        assert decision.desired == theirs.synchronise(time, replicas, values, missing, unready)
        moves += decision.desired != replicas
        replicas = decision.desired
        if random.random() < 0.05:  # somebody else scales
            replicas = int(random.integers(1, maximum + 3))
    assert moves > 10 or maximum - minimum < 3


@pytest.mark.parametrize(("value", "desired"), [(0.35, 2), (0.7, 4), (0.76, 4), (0.78, 5), (1.0, 6), (0.0, 1)])
def test_the_formula_of_a_mean(value: float, desired: int) -> None:
    scaler = Scaler(hpa([UtilisationConfig(target=0.7)]), 1, 10)
    decision = scaler.decide(Observation(0.0, 4, 4, utilisation=value))
    assert decision.by[0].desired == (0 if value == 0 else desired)
    assert decision.desired == desired


@pytest.mark.parametrize(
    ("policy", "observation", "desired"),
    [
        (RequestsConfig(per_replica=10.0), Observation(0.0, 4, 2, requests_per_second=75.0), 8),
        (RequestsConfig(per_replica=10.0), Observation(0.0, 4, 4, requests_per_second=43.0), 4),
        (RequestsConfig(per_replica=10.0), Observation(0.0, 0, 0, requests_per_second=11.0), 2),
        (PrometheusConfig(query="q", target=3.0), Observation(0.0, 4, 2, metrics={"prometheus": 6.0}), 4),
        (PrometheusConfig(query="q", target=3.0), Observation(0.0, 4, 4, metrics={"prometheus": 6.0}), 8),
        (PrometheusConfig(query="q", target=3.0), Observation(0.0, 4, 4, metrics={"prometheus": 3.2}), 4),
        (
            PrometheusConfig(query="q", target=3.0, per_replica=True),
            Observation(0.0, 4, 4, metrics={"prometheus": 16.0}),
            6,
        ),
        (PrometheusConfig(query="q", target=3.0, name="depth"), Observation(0.0, 4, 4, metrics={"depth": 6.0}), 8),
    ],
)
def test_the_formula_of_values_of_all(policy: AnyPolicy, observation: Observation, desired: int) -> None:
    config = hpa([policy], prometheus="http://127.0.0.1:9090")
    assert Scaler(config, 1, 20).decide(observation).by[0].desired == desired
