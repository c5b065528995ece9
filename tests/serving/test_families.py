"""Figures of several workers come to what each rule says, and what was counted stays counted."""

import math
import random

import numpy as np
import pytest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.parser import text_string_to_metric_families

from serving.monitoring.exposition import Gauge, plain, text
from serving.monitoring.families import Family, Totals, merge
from serving.monitoring.histogram import Histogram, histograms


def counter(value: float, **labels: str) -> Family:
    return Family("asked", "", "counter", "sum", (("asked_total", tuple(labels.items()), value),))


def values(families: object) -> dict[tuple[object, ...], float]:
    assert isinstance(families, tuple)
    return {(name, labels): value for family in families for name, labels, value in family.samples}


def test_each_rule_gives_its_own() -> None:
    def of(worker: int) -> tuple[Family, ...]:
        rules = ("sum", "min", "max", "each")
        gauges = [Gauge(rule, "", rule, float(worker)) for rule in rules]  # type: ignore[arg-type]
        return plain([CounterMetricFamily("asked", "", 10 + worker), *gauges])

    merged = values(merge({str(worker): of(worker) for worker in (1, 2, 3)}))
    assert merged["asked_total", ()] == 36
    assert (merged["sum", ()], merged["min", ()], merged["max", ()]) == (6, 1, 3)
    assert {key[1]: value for key, value in merged.items() if key[0] == "each"} == {
        (("worker", str(worker)),): worker for worker in (1, 2, 3)
    }


def test_a_merge_does_not_hang_on_the_order_and_is_what_one_process_would_have_counted() -> None:
    generator = np.random.default_rng(0)
    seconds = generator.exponential(0.01, 300)
    whole, parts = Histogram(), [Histogram() for _ in range(3)]
    for number, value in enumerate(seconds):
        whole.observe(value)
        parts[number % 3].observe(value)

    def told(histogram: Histogram) -> tuple[Family, ...]:
        return plain([histograms("took_seconds", "", ["version"], {("1",): histogram})])

    workers = {str(number): told(part) for number, part in enumerate(parts)}
    merged, alone = values(merge(workers)), values(merge({"0": told(whole)}))
    assert merged.keys() == alone.keys()
    assert merged == pytest.approx(alone)
    assert values(merge(dict(reversed(workers.items())))) == pytest.approx(merged)


def test_a_histogram_counts_what_numpy_counts() -> None:
    bounds = (0.1, 0.2, 0.5, 1.0)
    sample = np.concatenate([np.random.default_rng(1).uniform(0, 1.5, 500), bounds])
    histogram = Histogram(bounds)
    for value in sample:
        histogram.observe(float(value))
    expected = [*(int((sample <= bound).sum()) for bound in bounds), len(sample)]
    assert [count for _, count in histogram.cumulative()] == expected
    assert histogram.total == pytest.approx(sample.sum())
    (family,) = text_string_to_metric_families(text(plain([histograms("h", "", [], {(): histogram})])).decode())
    found = {sample.labels["le"]: sample.value for sample in family.samples if sample.name == "h_bucket"}
    assert [found[key] for key in sorted(found, key=float)] == expected
    assert math.isinf(float(max(found, key=float)))


@pytest.mark.parametrize("seed", range(5))
def test_nothing_is_uncounted_while_workers_end_and_begin_again(seed: int) -> None:
    draw, totals = random.Random(seed), Totals()
    counted, told, lost, before = dict.fromkeys("012", 0), dict.fromkeys("012", 0), 0, 0.0
    for _ in range(400):
        worker = draw.choice("012")
        match draw.choice(["count", "tell", "end"]):
            case "count":
                counted[worker] += draw.randrange(5)
            case "tell":
                totals.note(worker, (counter(counted[worker]),))
                told[worker] = counted[worker]
            case "end":  # what it had counted since it was asked last is gone with it
                totals.end(worker)
                lost, counted[worker], told[worker] = lost + told[worker], 0, 0
        now = values(totals.merged()).get(("asked_total", ()), 0.0)
        assert now >= before
        assert now == lost + sum(told.values())
        before = now


def test_a_version_that_nobody_has_any_more_is_let_go_and_the_rest_stays() -> None:
    totals = Totals()
    old, new = {"model": "m", "version": "1"}, {"model": "m", "version": "2"}
    totals.note("0", (counter(3, **old),))
    totals.note("1", (counter(4, **new),))
    totals.end("0")
    assert values(totals.merged()) == {("asked_total", tuple(new.items())): 4}
    totals.note("0", (counter(5, endpoint="/predict"),))
    totals.end("0")
    assert values(totals.merged())["asked_total", (("endpoint", "/predict"),)] == 5
    totals.end("1")
    assert values(totals.merged())["asked_total", tuple(new.items())] == 4  # nobody tells of anything
