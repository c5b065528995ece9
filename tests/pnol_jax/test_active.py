"""Scores and selections of cases: closed forms of Gaussians and linear models, and what batches must not do."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pnol_jax import active
from pnol_jax.active.gradients import _probed
from pnol_jax.bases import Basis, GridOperands, make_operands, stack_operands
from pnol_jax.errors import InputError
from pnol_jax.grids import Axis, Grid
from pnol_jax.predictive import Predictive

pytestmark = pytest.mark.usefixtures("x64")
BASES = (Basis("fourier", 4), Basis("cosine", 4))


def operands(n: int = 8) -> GridOperands:
    grid = Grid((Axis.uniform(n), Axis.uniform(7, "bounded", 1.0, "centre")))
    return make_operands(grid, BASES, None, "float64")


def test_bald_is_the_information_of_a_noisy_look_at_a_gaussian() -> None:
    rng = np.random.default_rng(0)
    epistemic, noise = rng.uniform(0.1, 2, (2, 3, 5, 2))
    predictive = Predictive(jnp.zeros((3, 5, 2)), jnp.asarray(noise), jnp.asarray(epistemic))
    weights = rng.uniform(1, 2, 5)
    information = 0.5 * (np.log(epistemic + noise) - np.log(noise))  # H(y) - H(y | model)
    expected = np.average(information.mean(axis=-1), axis=1, weights=weights)
    np.testing.assert_allclose(active.bald(predictive, weights), expected, rtol=1e-12)
    louder = Predictive(predictive.mean, 100 * predictive.aleatoric, predictive.epistemic)
    assert bool(jnp.all(active.bald(louder, weights) < active.bald(predictive, weights) / 10))
    both = active.predictive_variance(predictive, weights, jnp.asarray([1.0, 10.0]))
    scaled = np.average((epistemic / [1, 100]).mean(axis=-1), axis=1, weights=weights)
    np.testing.assert_allclose(both, scaled, rtol=1e-12)


def linear_model() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Weights of unit prior variance; what is wanted, what can be observed, its noise, and the posterior covariance."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(5, 4)), rng.normal(size=(9, 4)), rng.uniform(0.1, 1, 9), np.eye(4)


def posterior(rows: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """The covariance of the weights after observing rows with noise."""
    return np.linalg.inv(np.eye(4) + rows.T @ (rows / noise[:, None]))


def test_the_expected_reduction_is_what_bayesian_regression_loses() -> None:
    targets, candidates, noise, prior = linear_model()
    before = np.einsum("tk,kl,tl->t", targets, prior, targets)
    for case, found in enumerate(active.expected_reduction(targets, candidates, noise)):
        after = np.einsum("tk,kl,tl->t", targets, posterior(candidates[[case]], noise[[case]]), targets)
        np.testing.assert_allclose(found, np.mean(before - after), rtol=1e-10)


def test_greedy_reduction_conditions_on_what_it_has_chosen() -> None:
    targets, candidates, noise, _ = linear_model()
    chosen, taken = active.greedy_reduction(targets, candidates, noise, 6)
    assert len(set(chosen)) == 6

    def left(cases: list[int]) -> float:
        covariance = posterior(candidates[cases], noise[cases])
        return float(np.mean(np.einsum("tk,kl,tl->t", targets, covariance, targets)))

    for number in range(6):
        before = [int(case) for case in chosen[:number]]
        others = [left([*before, case]) for case in set(range(9)) - set(before)]
        np.testing.assert_allclose(taken[number], left(before) - min(others), rtol=1e-9)


def test_the_same_case_twice_is_taken_once_while_others_are_worth_something() -> None:
    targets, candidates, _, _ = linear_model()
    doubled = np.vstack([10 * candidates[:1], 10 * candidates[:1], candidates[1:4]])
    chosen, _ = active.greedy_reduction(targets, doubled, 1e-6, 4)
    assert not {0, 1} <= set(chosen)


def test_loadings_of_draws_have_their_covariance() -> None:
    draws = np.random.default_rng(0).normal(size=(4, 30))
    rows = active.loadings(draws)
    np.testing.assert_allclose(rows @ rows.T, np.cov(draws), rtol=1e-12)


def clusters() -> np.ndarray:
    """Three tight clusters of 30, 5 and 5 points."""
    rng = np.random.default_rng(0)
    centres = np.repeat([[0.0, 10.0], [10.0, 0.0], [-10.0, 0.0]], [30, 5, 5], axis=0)
    return centres + 0.1 * rng.normal(size=(40, 2))


@pytest.mark.parametrize("select", [active.badge, active.lcmd])
def test_a_batch_takes_one_of_each_cluster_before_a_second(select: Any) -> None:
    rows = clusters()
    chosen = select(rows, 3)
    assert {int(case >= 30) + int(case >= 35) for case in chosen} == {0, 1, 2}
    everything = select(rows, 40)
    assert sorted(everything) == list(range(40))
    np.testing.assert_array_equal(select(rows, 3), chosen)


def test_lcmd_goes_to_the_largest_cluster_and_badge_to_squared_distances() -> None:
    rows = clusters()
    known = np.array([[0.0, 10.0], [10.0, 0.0], [-10.0, 0.0]])
    assert active.lcmd(rows, 1, known)[0] < 30
    line = np.array([[3.0, 0], [0, 0], [1, 0], [2, 0]])  # the longest first, then 9, 4, 1 to 14
    second = [active.badge(line, 2, seed)[1] for seed in range(3000)]
    shares = np.bincount(second, minlength=4) / 3000
    np.testing.assert_allclose(shares, [0, 9 / 14, 4 / 14, 1 / 14], atol=3 * 0.5 / np.sqrt(3000))


def model(params: Any, inputs: jax.Array, grid: GridOperands) -> jax.Array:
    """Linear in w, nonlinear in v: the outputs of the first are the inputs' own."""
    return jnp.tanh(inputs @ params["v"]) @ params["w"]


def weights() -> dict[str, jax.Array]:
    rng = np.random.default_rng(0)
    return {"v": jnp.asarray(rng.normal(size=(2, 6))), "w": jnp.asarray(rng.normal(size=(6, 1))), "c": jnp.ones(1)}


def test_sketched_gradients_keep_the_tangent_kernel_where_no_two_share_a_place() -> None:
    params, grid, names = weights(), operands(), ("v", "w")
    inputs = jnp.asarray(np.random.default_rng(1).normal(size=(3, 8, 7, 2)))

    def numbers(changed: Any) -> jax.Array:
        fields = model(params | changed, inputs, grid)
        return jnp.stack([_probed(field[None], grid, jax.random.key(0), 2) for field in fields])

    whole = jax.jit(jax.jacrev(numbers))({name: params[name] for name in names})
    rows = jnp.concatenate([whole[name].reshape(3, 2, -1) for name in names], axis=2).reshape(3, -1)
    features = jax.jit(active.gradient_features, static_argnums=(0, 2, 5))
    wide = features(model, params, names, inputs, grid, active.Sketch(0, 2, 4096))  # no two of 18 in one place
    np.testing.assert_allclose(wide @ wide.T, rows @ rows.T, rtol=1e-10)


def test_gradient_features_are_the_same_on_every_grid_and_with_operands_per_case() -> None:
    def smooth(n: int) -> tuple[jax.Array, GridOperands]:
        grid = Grid((Axis.uniform(n), Axis.uniform(n, "bounded", 1.0, "centre")))
        x, y = np.meshgrid(*(2 * np.pi * axis.points for axis in grid.axes), indexing="ij")
        field = np.stack([np.sin(x) + np.cos(y / 2), np.cos(x - 1)], axis=-1)
        return jnp.asarray(0.3 * np.stack([field, 2 * field])), make_operands(grid, BASES, None, "float64")

    sketch = active.Sketch(3, 2, 64)
    of = jax.jit(active.gradient_features, static_argnums=(0, 2, 5))
    features = [of(model, weights(), ("v", "w"), *smooth(n), sketch) for n in (16, 32)]
    np.testing.assert_allclose(features[0], features[1], atol=2e-2 * float(jnp.abs(features[0]).max()))
    inputs, grid = smooth(16)
    each = of(model, weights(), ("v", "w"), inputs, stack_operands([grid] * 2), sketch)
    np.testing.assert_allclose(each, features[0], rtol=1e-10)


def test_a_darcy_solution_has_no_residual_and_a_wrong_one_has() -> None:
    grid = Grid((Axis.uniform(32), Axis.uniform(32)))
    here = make_operands(grid, (Basis("fourier", 20),) * 2, None, "float64")
    x, y = np.meshgrid(*(2 * np.pi * axis.points for axis in grid.axes), indexing="ij")
    permeability = jnp.asarray(2 + np.cos(x) * np.sin(y))[None, ..., None]
    pressure = jnp.asarray(np.sin(x) + np.cos(y))[None, ..., None]
    k = 2 * np.pi
    divergence = k**2 * (-np.sin(x) * np.sin(y) * np.cos(x) - (2 + np.cos(x) * np.sin(y)) * np.sin(x))
    divergence += k**2 * (-np.cos(x) * np.cos(y) * np.sin(y) - (2 + np.cos(x) * np.sin(y)) * np.cos(y))
    predictive = Predictive(pressure, 0 * pressure, 0 * pressure)
    expected = np.sqrt(np.mean(np.square(divergence + 1)))
    np.testing.assert_allclose(active.residual_norm(predictive, permeability, here, "darcy"), expected, rtol=1e-8)

    def solved(inputs: jax.Array, outputs: jax.Array, operands: GridOperands) -> jax.Array:
        return active.EQUATIONS["darcy"](inputs, outputs, operands) - jnp.asarray(divergence + 1)[None, ..., None]

    assert active.residual_norm(predictive, permeability, here, solved) < 1e-9 * expected
    with pytest.raises(InputError, match="equation: got 'stokes', expected one of darcy"):
        active.residual_norm(predictive, permeability, here, "stokes")


def test_a_cheaper_simulation_is_worth_what_conditioning_on_it_removes() -> None:
    v, rho, s = 2.0, 0.8, 0.3
    joint = np.array([[v, rho * v], [rho * v, v + s]])
    removed = joint[0, 1] ** 2 / joint[1, 1]
    found = active.gains([v, 1.0], [1.0, rho], [0.0, s])
    np.testing.assert_allclose(found[0], [v, removed], rtol=1e-12)
    best, ratio = active.best_fidelities(found, [10.0, 1.0])
    np.testing.assert_array_equal(best, [1, 1])
    np.testing.assert_allclose(ratio, found[:, 1])
    np.testing.assert_array_equal(active.best_fidelities(found, [1.0, 1.0])[0], [0, 0])
    np.testing.assert_array_equal(active.within_budget([3.0, 1.0, 2.0], [5.0, 1.0, 2.0], 6.5), [0, 1])
    with pytest.raises(InputError, match="correlations between -1 and 1"):
        active.gains([1.0], [1.2], 0.0)
    with pytest.raises(InputError, match="a positive cost"):
        active.best_fidelities(found, [1.0, 0.0])


def test_the_largest_come_first_and_what_cannot_be_chosen_is_refused() -> None:
    np.testing.assert_array_equal(active.top([1.0, 3.0, 3.0, 2.0], 3), [1, 2, 3])
    with pytest.raises(InputError, match="got 5, expected 1 to 4"):
        active.top(np.ones(4), 5)
    with pytest.raises(InputError, match="case 1 has one that is not a number"):
        active.top([1.0, np.nan], 1)
    with pytest.raises(InputError, match="got shapes"):
        active.expected_reduction(np.ones((2, 3)), np.ones((2, 4)), 1.0)
    with pytest.raises(InputError, match="known: got shape"):
        active.lcmd(np.ones((3, 2)), 1, np.ones((2, 3)))
    with pytest.raises(InputError, match="at least 2 draws"):
        active.loadings(np.ones((3, 1)))
