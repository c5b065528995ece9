"""Fewer components of a mixture: the mixture of those that are left, and which ones are."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pnol_jax import scores
from pnol_jax.posteriors import mixture
from pnol_jax.posteriors.selection import forward, of_chosen
from pnol_jax.predictive import Predictive

POINTS = 16


def components(*means: float) -> Predictive:
    """Constant fields with a noise each, as members of an ensemble give them."""
    fields = jnp.asarray(means)[:, None, None, None] * jnp.ones((1, 2, POINTS, 1))
    noise = jnp.arange(1.0, len(means) + 1)[:, None, None, None] * jnp.ones_like(fields)
    return Predictive(mean=fields, aleatoric=noise, epistemic=jnp.zeros_like(fields))


def chosen(count: int, *which: int) -> jax.Array:
    return jnp.zeros(count).at[jnp.asarray(which)].set(1)


def test_all_chosen_are_the_mixture_and_one_is_itself() -> None:
    each = components(1.0, 4.0, -2.0)
    found, expected = of_chosen(each, jnp.ones(3)), mixture.moments(each, 3)
    for name in ("mean", "aleatoric", "epistemic"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-6)
    alone = of_chosen(each, chosen(3, 1))
    np.testing.assert_allclose(alone.mean, 4.0)
    np.testing.assert_allclose(alone.aleatoric, 2.0)
    np.testing.assert_allclose(alone.epistemic, 0.0)


def test_some_chosen_are_the_mixture_of_those() -> None:
    each = components(1.0, 4.0, -2.0)
    found = of_chosen(each, chosen(3, 0, 2))
    np.testing.assert_allclose(found.mean, -0.5)
    np.testing.assert_allclose(found.aleatoric, 2.0)
    np.testing.assert_allclose(found.epistemic, 4.5)  # of 1 and -2, divisor 1


@pytest.mark.parametrize("number", [1, 2, 3])
def test_the_best_subset_of_a_case_where_every_round_agrees_with_it(number: int) -> None:
    """Two members that err little and to either side, others ever more: the first ones are best, however many."""
    each = components(0.1, -0.2, 3.0, 5.0, 9.0)
    truth = jnp.zeros((2, POINTS, 1))

    def losses(sets):
        found = [scores.crps(of_chosen(each, chosen(5, *which)), truth, jnp.ones(POINTS)) for which in sets]
        return [float(jnp.mean(loss)) for loss in found]

    subsets = list(itertools.combinations(range(5), number))
    best = subsets[int(np.argmin(losses(subsets)))]
    assert set(forward(losses, 5, number)) == set(best)


def test_each_round_takes_the_one_that_makes_up_for_the_others() -> None:
    """After the best one comes not the second best, but one that is wrong the other way; the third mends what is left.

    Mean errors: 0.4 alone; with -1 it is -0.3, with 0.5 or 1 it is 0.45 or 0.7; then with 0.5 -0.03, with 1 0.13.
    """
    errors = np.array([1.0, -1.0, 0.4, 0.5])
    assert forward(lambda sets: [abs(errors[list(which)].mean()) for which in sets], 4, 3) == (2, 1, 3)
