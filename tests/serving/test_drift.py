"""Without drift the alarm of drift is as rare as it says, whenever one looks; with drift it comes."""

import numpy as np
import pytest
from scipy import stats

from serving.monitoring.alarms import Alarms
from serving.monitoring.drift import LUCKY, allowed_rate, p_value
from serving.monitoring.drifting import INPUT, MISS, with_drift
from serving.monitoring.exposition import plain
from serving.monitoring.families import Families, Family
from serving.monitoring.histogram import histograms
from serving.releases.figures import histogram_of
from serving.releases.tally import Scores, Tally

RUNS, LOOKS = 300, np.arange(25, 1001, 25)


def ever(values: np.ndarray, rate: float, level: float) -> bool:
    """Whether one who looks again and again ever sees a p-value below the level."""
    kinds = np.unique(values)
    sums = np.cumsum(values[:, None] == kinds, axis=0)[LOOKS - 1]
    return any(p_value(zip(kinds, counts, strict=True), rate) <= level for counts in sums)


@pytest.mark.parametrize("rate", [0.05, 0.2])
def test_at_the_stated_rate_it_is_wrong_at_most_as_often_as_its_level(rate: float) -> None:
    generator, level = np.random.default_rng(0), 0.1
    wrong = sum(ever((generator.random(LOOKS[-1]) < rate).astype(float), rate, level) for _ in range(RUNS))
    assert wrong <= stats.binom.ppf(0.999, RUNS, level)


def test_values_between_0_and_1_are_held_to_their_mean() -> None:
    generator, rate = np.random.default_rng(1), 0.1
    steady = np.round(generator.beta(1, 9, 1000), 2)  # of mean 0.1
    assert p_value(zip(*np.unique(steady, return_counts=True), strict=True), rate + 0.01) > 0.05
    assert p_value(zip(*np.unique(steady, return_counts=True), strict=True), rate / 2) < 1e-3


def test_more_alarms_than_stated_are_found_and_fewer_are_none() -> None:
    assert p_value([(1.0, 60), (0.0, 440)], 0.05) < 1e-6
    assert p_value([(1.0, 5), (0.0, 495)], 0.05) == 1.0
    assert p_value([], 0.05) == pytest.approx(1.0)
    assert p_value([(1.0, 40), (0.0, 160)], 0.05) < p_value([(1.0, 20), (0.0, 180)], 0.05)
    assert p_value([(1.0, 100), (0.0, 900)], 0.05) < p_value([(1.0, 20), (0.0, 180)], 0.05)
    assert p_value([(1.0, 100), (0.0, 900)], 0.05) < 1e-6


@pytest.mark.parametrize(("rate", "cases"), [(0.05, 75), (0.05, 1000), (0.1, 99), (0.1, 20)])
def test_luck_of_calibration_is_the_quantile_of_the_beta_distribution(rate: float, cases: int) -> None:
    beyond = int(rate * (cases + 1) + 1e-9)
    expected = stats.beta(beyond, cases + 1 - beyond).ppf(LUCKY)
    assert allowed_rate(rate, cases) == pytest.approx(expected, abs=1e-6)
    assert allowed_rate(rate, None) == rate


def test_a_calibration_set_s_own_rate_is_within_what_is_allowed_for() -> None:
    generator, rate, cases = np.random.default_rng(2), 0.1, 99
    thresholds = np.sort(generator.random((2000, cases)), axis=1)[:, -int(rate * (cases + 1))]
    assert np.mean(1 - thresholds <= allowed_rate(rate, cases)) == pytest.approx(LUCKY, abs=0.01)


def test_alarms_are_counted_as_the_manifest_states_them() -> None:
    alarms = Alarms.of({"false_alarm": 0.05, "cases": 75})
    alarms.note({"ood": np.float32([0.1, 0.949, 0.95, 0.99])})
    alarms.note({"mean": np.zeros(3)})
    assert (alarms.cases, alarms.alarms) == (4, 2)
    silent = Alarms.of(None)
    silent.note({"ood": np.float32([0.99])})
    assert silent.cases == 0


def figures(alarms: int, cases: int, shares: list[float], level: float = 0.9) -> Families:
    labels = (("model", "m"), ("version", "1"))
    levelled = (*labels, ("level", f"{level:g}"))
    tally = Tally()
    for share in shares:
        tally.add(Scores(error=0.1, crps=0.1, coverage=1 - share, interval=0.1), level)
    missed = {("m", "1", "0.9"): histogram_of(tally.misses[level])}
    told = histograms(f"{MISS}_share", "", ["model", "version", "level"], missed)
    return (
        Family(f"{INPUT}s", "", "counter", "sum", ((f"{INPUT}s_total", labels, alarms),)),
        Family(f"{INPUT}_cases", "", "counter", "sum", ((f"{INPUT}_cases_total", labels, cases),)),
        Family(f"{INPUT}_allowed_rate", "", "gauge", "max", ((f"{INPUT}_allowed_rate", labels, 0.1),)),
        Family(f"{MISS}_allowed_rate", "", "gauge", "max", ((f"{MISS}_allowed_rate", levelled, 1 - level),)),
        *plain([told]),
    )


def p_values(families: Families) -> dict[str, float]:
    return {f.name: f.samples[0][2] for f in with_drift(families) if f.name.endswith("drift_p")}


def test_the_p_values_follow_from_the_counters_of_all_workers() -> None:
    shares = np.random.default_rng(3).uniform(0, 0.5, 200).tolist()  # 0.25 outside where 0.1 is stated
    found = p_values(figures(60, 200, shares))
    assert found["pnol_input_drift_p"] == pytest.approx(p_value([(1.0, 60), (0.0, 140)], 0.1))
    exact = p_value([(share, 1) for share in shares], 0.1)
    assert exact < found["pnol_calibration_drift_p"] < 1e-3  # buckets cost certainty and give none
    steady = p_values(figures(5, 200, [0.1] * 200))
    assert steady == {"pnol_input_drift_p": 1.0, "pnol_calibration_drift_p": 1.0}


def test_a_truth_without_coverage_counts_as_none() -> None:
    tally = Tally()
    tally.add(Scores(1.0, 1.0, float("nan"), 1.0), 0.9)
    assert tally.truths == 1
    assert tally.misses == {}
