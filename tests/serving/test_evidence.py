"""The sequential test keeps its level whenever one stops, finds real differences, and treats both sides alike."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from serving.betting import BETS, WEIGHTS
from serving.releases.evidence import Evidence, observe, relative_difference

Draw = Callable[[np.random.Generator], float]
LEVEL, TRUTHS, RUNS = 0.1, 200, 300


def follow(differences: NDArray[np.float64]) -> Evidence:
    evidence = Evidence()
    for difference in differences:
        evidence = observe(evidence, float(difference))
    return evidence


def gaussian(generator: np.random.Generator) -> float:
    """Two versions of equal skill, whose scores have heavy tails and share the case."""
    case = generator.lognormal(sigma=1.5)
    base, candidate = case * generator.lognormal(sigma=0.3, size=2)
    return relative_difference(base, candidate)


def rare(generator: np.random.Generator) -> float:
    """Mean zero, with a rare large loss for the candidate: the least favourable to a test that trusts variances."""
    return 1.0 if generator.random() < 0.02 else -0.02 / 0.98


def coin(generator: np.random.Generator) -> float:
    return float(generator.choice([-1, 1]))


@pytest.mark.parametrize("draw", [gaussian, rare, coin])
def test_no_difference_is_rejected_at_any_time_at_most_as_often_as_the_level_says(draw: Draw) -> None:
    generator = np.random.default_rng(0)
    outcomes = [follow(np.array([draw(generator) for _ in range(TRUTHS)])).rejects(LEVEL) for _ in range(RUNS)]
    worse, better = np.mean(outcomes, axis=0)
    allowed = LEVEL + 3 * math.sqrt(LEVEL * (1 - LEVEL) / RUNS)  # three deviations of the share itself
    assert worse <= allowed
    assert better <= allowed


def test_the_expected_wealth_is_one_where_nothing_is_to_be_won() -> None:
    """Every sequence of five fair coins: the mean of the martingale over all is exactly its start."""
    sequences = np.array(np.meshgrid(*[[-1.0, 1.0]] * 5)).reshape(5, -1).T
    wealth = [np.mean(np.exp(follow(sequence).worse)) for sequence in sequences]
    assert np.mean(wealth) == pytest.approx(1, rel=1e-12)


def test_the_wealth_is_that_of_its_definition() -> None:
    differences = np.random.default_rng(1).uniform(-1, 1, 40)
    evidence = follow(differences)
    products = np.cumprod(1 + np.multiply.outer(differences, BETS), axis=0)
    np.testing.assert_allclose(np.exp(evidence.worse), products[-1])
    assert math.exp(evidence.peaks[0]) == pytest.approx(max(1, (products @ WEIGHTS).max()))
    assert evidence.mean == pytest.approx(differences.mean())


def test_a_real_difference_is_found_soon_and_in_the_right_direction() -> None:
    generator = np.random.default_rng(2)
    for sign in (1, -1):
        truths = []
        for _ in range(50):
            evidence = Evidence()
            while True not in evidence.rejects(LEVEL) and evidence.count < 1000:
                candidate = generator.lognormal(mean=sign * 0.2, sigma=0.3)
                evidence = observe(evidence, relative_difference(generator.lognormal(sigma=0.3), candidate))
            assert evidence.rejects(LEVEL) == (sign > 0, sign < 0)
            truths.append(evidence.count)
        assert np.median(truths) < 100


def test_the_two_directions_mirror_each_other() -> None:
    differences = np.random.default_rng(3).uniform(-1, 1, 30)
    here, there = follow(differences), follow(-differences)
    np.testing.assert_allclose(here.worse, there.better)
    assert here.peaks == pytest.approx(there.peaks[::-1])


@pytest.mark.parametrize(
    ("base", "candidate", "expected"), [(1, 3, 0.5), (3, 1, -0.5), (0, 2, 1), (2, 0, -1), (0, 0, 0)]
)
def test_relative_differences_are_bounded_and_know_no_unit(base: float, candidate: float, expected: float) -> None:
    for unit in (1.0, 1e-30, 1e30):
        assert relative_difference(unit * base, unit * candidate) == pytest.approx(expected)


def test_a_score_that_is_no_number_is_worse_than_any_other() -> None:
    for lost in (math.inf, math.nan):
        assert relative_difference(1.0, lost) == 1
        assert relative_difference(lost, 1.0) == -1
        assert relative_difference(lost, lost) == 0
    assert relative_difference(1e308, 1e308) == 0


def test_scores_of_wealth_cannot_overflow() -> None:
    evidence = follow(np.ones(5000))
    assert math.isfinite(evidence.peaks[0])
    assert evidence.rejects(1e-300) == (True, False)
