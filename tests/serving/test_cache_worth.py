"""A cache is off where computing is cheaper, tries again, and one pause of the machine decides nothing."""

from serving.cache.worth import ENOUGH, SAMPLES, TRIAL, Worth


def told(look_ups: list[float], computations: list[float]) -> Worth:
    worth = Worth()
    for seconds in look_ups:
        worth.looked_up(seconds)
    for seconds in computations:
        worth.computed(seconds)
    return worth


def test_it_is_off_only_where_a_computation_takes_no_longer_than_a_look_up() -> None:
    assert told([2e-5] * ENOUGH, [1e-5] * ENOUGH).is_off
    assert not told([1e-5] * ENOUGH, [2e-5] * ENOUGH).is_off


def test_nothing_is_decided_before_enough_is_known_nor_by_single_pauses() -> None:
    assert not told([2e-5] * (ENOUGH - 1), [1e-5] * SAMPLES).is_off
    assert not told([2e-5] * SAMPLES, [1e-5] * (ENOUGH - 1)).is_off
    assert not told([1e-5] * 8 + [1.0] * 7, [2e-5] * SAMPLES).is_off


def test_while_off_it_tries_now_and_then_and_comes_back_when_that_pays() -> None:
    worth = told([2e-5] * SAMPLES, [1e-5] * SAMPLES)
    skips = [worth.skips() for _ in range(3 * TRIAL)]
    assert skips.count(False) == 3
    for _ in range(SAMPLES):
        worth.computed(1e-3)
    assert not worth.is_off
    assert not any(worth.skips() for _ in range(TRIAL))
