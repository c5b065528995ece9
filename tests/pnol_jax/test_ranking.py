"""Rankings of cases and intervals over cases: against scipy, closed forms, and their coverage."""

import numpy as np
import pytest
from scipy import stats

from pnol_jax import scores
from pnol_jax.errors import InputError


def test_rank_correlation_equals_scipy_ties_included() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 9, 80), rng.normal(size=80).round(1)
    np.testing.assert_allclose(scores.spearman(first, second), stats.spearmanr(first, second).statistic, rtol=1e-12)
    assert scores.spearman(first, np.ones(80)) == 0
    assert scores.spearman(second, np.exp(second)) == pytest.approx(1)


def test_an_oracle_has_no_area_and_chance_has_that_of_the_mean() -> None:
    errors = np.random.default_rng(0).exponential(size=4000)
    assert scores.ause(errors, errors**3) == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(scores.risk_coverage(errors, np.ones(4000)), errors.mean())
    # The mean of the k smallest of exponential errors is 1 + (1 - p) log(1 - p) / p at p = k / n; its mean over p is
    # 2 - pi^2 / 6.
    assert scores.ause(errors, np.ones(4000)) == pytest.approx(1 - (2 - np.pi**2 / 6), abs=0.05)
    worst = scores.ause(errors, -errors)
    chance = scores.ause(errors, np.random.default_rng(1).normal(size=4000))
    assert worst > 1.5 * chance > 0


def test_the_risk_of_all_cases_is_their_mean_and_order_of_equals_does_not_matter() -> None:
    errors, unsure = np.array([1.0, 3.0, 2.0, 6.0]), np.array([1.0, 2.0, 2.0, 0.5])
    np.testing.assert_allclose(scores.risk_coverage(errors, unsure), [6, 3.5, 9.5 / 3, 3])
    swapped = scores.risk_coverage(errors[[0, 2, 1, 3]], unsure[[0, 2, 1, 3]])
    np.testing.assert_allclose(swapped, scores.risk_coverage(errors, unsure))


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_intervals_agree_with_those_of_scipy(method: str) -> None:
    rows = np.random.default_rng(0).exponential(size=60)
    theirs = stats.bootstrap((rows,), np.mean, n_resamples=20_000, method=method.replace("bca", "BCa"), rng=1)
    ours = scores.bootstrap(rows, method=method, repeats=20_000)  # type: ignore[arg-type]
    assert ours.value == pytest.approx(rows.mean())
    width = theirs.confidence_interval.high - theirs.confidence_interval.low
    np.testing.assert_allclose(ours[1:], theirs.confidence_interval, atol=0.02 * width)


def test_a_mean_and_the_same_as_a_statistic_of_rows_agree() -> None:
    rows = np.random.default_rng(0).exponential(size=50)
    quick = scores.bootstrap(rows, repeats=20_000)
    slow = scores.bootstrap(rows, lambda drawn: float(np.mean(drawn)), repeats=20_000)
    np.testing.assert_allclose(quick[1:], slow[1:], atol=0.05 * (quick.high - quick.low))
    assert scores.bootstrap(rows) == scores.bootstrap(rows)


def test_an_interval_holds_the_truth_as_often_as_it_says() -> None:
    rng, level = np.random.default_rng(0), 0.9
    held = []
    for seed in range(300):
        found = scores.bootstrap(rng.exponential(size=80), level=level, seed=seed, repeats=500)
        held.append(found.low <= 1 <= found.high)
    # Of skewed draws a bootstrap falls short by O(1 / n): three deviations of 300, and 2%.
    assert abs(np.mean(held) - level) < 3 * np.sqrt(level * (1 - level) / 300) + 0.02


def test_paired_runs_are_compared_case_by_case() -> None:
    rng = np.random.default_rng(0)
    hard = rng.exponential(size=100) * 10
    first, second = hard + rng.normal(size=100) * 0.1, hard + 0.1 + rng.normal(size=100) * 0.1
    apart = scores.paired_difference(first, second)
    assert apart.low < -0.1 < apart.high < 0
    assert scores.bootstrap(first).high > scores.bootstrap(second).low  # each by itself says nothing


def test_what_cannot_be_ranked_or_resampled_is_refused() -> None:
    with pytest.raises(InputError, match=r"got shapes \(3,\) and \(2,\)"):
        scores.spearman(np.ones(3), np.ones(2))
    with pytest.raises(InputError, match="expected 2 cases"):
        scores.bootstrap(np.ones(1))
    with pytest.raises(InputError, match="expected the same"):
        scores.paired_difference(np.ones(3), np.ones(4))
    assert np.isnan(scores.bootstrap(np.array([1.0, np.nan, 2.0])).low)
    assert scores.bootstrap(np.ones(5)) == (1, 1, 1)
