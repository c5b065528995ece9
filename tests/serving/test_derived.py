"""What a caller names is computed in closed form: against SciPy's laws, and against the library's own risks."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from pnol_jax import risk
from pnol_jax.bases import Basis, make_operands
from pnol_jax.grids import Axis, Grid
from pnol_jax.predictive import Predictive
from pnol_jax.quantiles import mean_and_variance
from serving.derived import Answered, Exceedance, Functional, Quantiles, derive, exceedance_at, integrals, quantiles_at
from serving.wanted import Wanted

RNG = np.random.default_rng(0)
SHAPE = (2, 5, 6, 3)  # cases, space, channels
MEAN, VARIANCE = RNG.normal(size=SHAPE), RNG.uniform(0.1, 2, size=SHAPE)
LAW = stats.norm(MEAN, np.sqrt(VARIANCE))
LEVELS = (0.1, 0.3, 0.5, 0.9)
STATED = np.sort(RNG.normal(size=(2, 4, 5, 6, 3)), axis=1)
UNEVEN = Grid((Axis("bounded", 3.0, tuple(np.sort(RNG.uniform(0, 3, 40)).tolist())), Axis.uniform(8, "periodic", 2.0)))


def gaussian(quadrature: Any = None, draws: Any = None) -> Answered:
    arrays = {"mean": MEAN, "aleatoric": 0.25 * VARIANCE, "epistemic": 0.75 * VARIANCE, "samples": draws}
    return Answered(arrays, (), np.ones((5, 6)) if quadrature is None else quadrature, 20)


def stated() -> Answered:
    mean, variance = mean_and_variance(LEVELS, jnp.asarray(np.moveaxis(STATED, 1, 0)))
    arrays = {"quantiles": STATED, "mean": mean, "aleatoric": variance, "epistemic": 0 * variance}
    return Answered({name: np.asarray(array) for name, array in arrays.items()}, LEVELS, np.ones((5, 6)), 0)


def test_of_a_gaussian_they_are_its_own() -> None:
    levels, thresholds = (0.001, 0.25, 0.975), (-1.0, 0.5)
    found = quantiles_at(levels, gaussian())
    assert found.shape == (2, 3, 5, 6, 3)
    np.testing.assert_allclose(np.moveaxis(found, 1, 0), [LAW.ppf(level) for level in levels], rtol=1e-12, atol=1e-12)
    found = exceedance_at(thresholds, gaussian())
    np.testing.assert_allclose(np.moveaxis(found, 1, 0), [LAW.sf(at) for at in thresholds], atol=1e-14)


def test_stated_quantiles_go_before_the_moments() -> None:
    np.testing.assert_allclose(quantiles_at(LEVELS, stated()), STATED, atol=1e-12)
    between = quantiles_at((0.2, 0.99), stated())
    for position, level in enumerate((0.2, 0.99)):
        for at in between[:, position].ravel()[:5]:
            where = between[:, position] == at
            np.testing.assert_allclose(exceedance_at((float(at),), stated())[:, 0][where], 1 - level, atol=1e-12)


@pytest.mark.parametrize(("answered", "kind"), [(gaussian(), "gaussian"), (stated(), "quantiles")])
def test_an_answer_says_which_distribution_it_is(answered: Answered, kind: Any) -> None:
    arrays, about = derive(Wanted(quantiles=(0.5,), thresholds=(0.0, 1.0)), answered)
    assert about == {"quantiles": Quantiles((0.5,), kind), "exceedance": Exceedance((0.0, 1.0), kind)}
    assert {name: array.shape for name, array in arrays.items()} == {
        "quantiles": (2, 1, 5, 6, 3),
        "exceedance": (2, 2, 5, 6, 3),
    }


def test_integrals_are_true_on_any_grid() -> None:
    for grid in (UNEVEN, Grid((Axis.uniform(30, "bounded", 3.0, "centre"), Axis.uniform(12, "periodic", 2.0)))):
        x, y = np.meshgrid(*(axis.points for axis in grid.axes), indexing="ij")
        field = np.stack([1 + 0 * x, np.cos(np.pi * y) ** 2], axis=-1)
        weights = np.stack([np.ones_like(field), np.stack([0 * x, 1 + 0 * x], axis=-1)])
        np.testing.assert_allclose(integrals(field[None], weights, grid.weights()), [[6 + 3, 3]], rtol=1e-12)


@pytest.mark.usefixtures("x64")
def test_of_draws_they_are_the_library_s_risks() -> None:
    fields = RNG.normal(size=(20, 2, 40, 8, 2)) + RNG.normal(size=(20, 1, 1, 1, 1))
    operands = make_operands(UNEVEN, (Basis("cosine", 3), Basis("fourier", 2)), None, "float64")
    level = 0.9
    risks = [risk.Risk("a", 1, (), "mean", 0.1, level), risk.Risk("b", 0, ((0.2, 0.6), (0, 2.0)), "mean", -0.1, level)]
    moments = jnp.asarray(fields.mean(axis=0))
    expected = risk.from_draws(risks, Predictive(moments, moments**2, moments**2, jnp.asarray(fields)), operands)
    weights = np.asarray(risk.linear_weights(risks, operands, 2))
    drawn = Answered({"samples": np.moveaxis(fields, 0, 1)}, (), UNEVEN.weights(), 20)
    arrays, about = derive(Wanted(weights=weights, tail=level, functional_thresholds=(0.1, -0.1)), drawn)
    assert about["functional"] == Functional("samples", 20, level, (0.1, -0.1))
    for part in ("mean", "std", "tail", "exceedance"):
        known = np.stack([expected[f"{name}.{part}"] for name in "ab"], axis=1)
        np.testing.assert_allclose(arrays[f"functional.{part}"], known, rtol=1e-6, atol=1e-7)
    few, about = derive(Wanted(weights=weights), Answered(drawn.arrays, (), UNEVEN.weights(), 3))
    assert about["functional"] == Functional("samples", 3)
    whole = integrals(np.moveaxis(fields, 0, 1)[:, :3], weights, UNEVEN.weights())
    np.testing.assert_allclose(few["functional.std"], whole.std(axis=1, ddof=1), rtol=1e-6)


def test_exact_functionals_are_normal() -> None:
    mean, std = RNG.normal(size=(3, 2)), RNG.uniform(0.1, 1, size=(3, 2))
    exact = Answered({"functional.mean": mean, "functional.std": std}, (), np.ones(4), 0)
    wanted = Wanted(weights=np.ones((2, 4, 1), np.float32), tail=0.95, functional_thresholds=(0.0, 0.3))
    arrays, about = derive(wanted, exact)
    assert about["functional"] == Functional("exact", None, 0.95, (0.0, 0.3))
    law = stats.norm(mean, std)
    np.testing.assert_allclose(arrays["functional.exceedance"], law.sf([0.0, 0.3]), atol=1e-7)
    tail = mean + std * stats.norm.pdf(stats.norm.ppf(0.95)) / 0.05
    np.testing.assert_allclose(arrays["functional.tail"], tail, rtol=1e-6)
