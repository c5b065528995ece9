"""The cheapest way to do so many cases, and what one case more saves."""

import itertools

import numpy as np
import pytest

from serving.costs import ABOUT, Costs


def brute(seconds: dict[int, float], cases: int) -> float:
    """The least cost over all multisets of batches that hold the cases."""
    best = np.inf
    for counts in itertools.product(range(cases + 1), repeat=len(seconds)):
        if sum(count * size for count, size in zip(counts, seconds, strict=True)) >= cases:
            best = min(best, sum(count * taken for count, taken in zip(counts, seconds.values(), strict=True)))
    return float(best)


@pytest.mark.parametrize("seed", range(5))
def test_the_plan_is_the_cheapest_of_all(seed: int) -> None:
    rng = np.random.default_rng(seed)
    seconds = {1: 1.0, 2: 1 + rng.random(), 4: 2 + 3 * rng.random()}
    costs = Costs.of(seconds)
    for cases in range(1, 5):
        assert costs.least[cases] == pytest.approx(brute(seconds, cases))
        size = costs.size(cases)
        left = max(cases - size, 0)
        assert seconds[size] + costs.least[left] <= costs.least[cases] * (1 + ABOUT) + 1e-9


def test_a_batch_that_is_not_full_goes_where_two_smaller_ones_cost_more_and_not_where_they_cost_less() -> None:
    assert Costs.of({1: 1.0, 4: 1.5}).size(3) == 4
    assert Costs.of({1: 1.0, 2: 1.1, 4: 1.3, 8: 9.0}).size(5) == 4
    assert Costs.of({1: 1.0, 2: 1.1, 4: 1.3, 8: 9.0}).size(100) == 4
    assert Costs.of({1: 1.0, 2: 1.1, 4: 1.3, 8: 9.0}).case == pytest.approx(1.3 / 4)


def test_of_batches_that_cost_about_the_same_the_larger_goes() -> None:
    assert Costs.of({1: 1.0, 2: 2.0, 4: 4.1}).size(4) == 4


def test_one_case_more_saves_what_it_would_cost_alone_less_what_it_adds() -> None:
    costs = Costs.of({1: 1.0, 2: 1.2, 4: 1.6})
    assert costs.saving(1) == pytest.approx(0.8)
    assert costs.saving(2) == pytest.approx(1.0 - 0.4)
    assert costs.saving(3) == pytest.approx(1.0)  # in the place that would be empty
    assert costs.saving(4) == 0.0
    assert Costs.of({1: 1.0, 2: 2.5}).saving(1) == 0.0
