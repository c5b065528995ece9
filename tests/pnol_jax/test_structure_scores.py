"""Scores of regions and patches: against scoringrules, exact expectations, and what they must not depend on."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scoringrules as sr

from pnol_jax import scores
from pnol_jax.bases import Basis, GridOperands, make_operands, stack_operands
from pnol_jax.errors import InputError
from pnol_jax.grids import Axis, Grid
from pnol_jax.predictive import Predictive

pytestmark = pytest.mark.usefixtures("x64")
AXES = (Axis.uniform(4, "bounded", 2.0, "centre"), Axis.uniform(3))
variogram_score = jax.jit(scores.variogram_score, static_argnums=(3, 4))
patched_energy_score = jax.jit(scores.patched_energy_score, static_argnums=3)
SCORES: dict[str, Any] = {"variogram": variogram_score, "patched energy": patched_energy_score}


def operands(axes: tuple[Axis, ...] = AXES, bucket: tuple[int, ...] | None = None) -> GridOperands:
    bases = tuple(Basis("fourier", 2) if axis.kind == "periodic" else Basis("cosine", 2) for axis in axes)
    return make_operands(Grid(axes), bases, bucket, "float64")


def of_samples(samples: Any) -> Predictive:
    mean = jnp.asarray(samples).mean(axis=0)
    return Predictive(mean, jnp.zeros_like(mean), jnp.ones_like(mean), samples=jnp.asarray(samples))


def case(m: int = 5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(m, 2, 4, 3, 2)), rng.normal(size=(2, 4, 3, 2))


@pytest.mark.parametrize("order", [0.5, 1.0])
def test_with_a_cell_a_point_the_variogram_score_equals_scoringrules(order: float) -> None:
    samples, truth = case()
    got = variogram_score(of_samples(samples), jnp.asarray(truth), operands(), (4, 3), order)
    drawn, outcome = np.moveaxis(samples.reshape(5, 2, 12, 2), 0, 1), truth.reshape(2, 12, 2)
    options: dict[str, Any] = {"w": np.ones((2, 12, 12)), "p": order, "estimator": "fair", "backend": "numpy"}
    each = [sr.vs_ensemble(outcome[..., c], drawn[..., c], **options) for c in (0, 1)]
    np.testing.assert_allclose(got, np.mean(each, axis=0) / (12 * 11), rtol=1e-12)


def test_patches_of_a_point_are_the_crps_and_one_patch_is_the_energy_score() -> None:
    samples, truth = case()
    predictive, grid = of_samples(samples[..., :1]), operands()
    truth = jnp.asarray(truth[..., :1])
    points = patched_energy_score(predictive, truth, grid, (4, 3))
    np.testing.assert_allclose(points, scores.crps(predictive, truth, jnp.ones((4, 3))), rtol=1e-12)
    whole = patched_energy_score(predictive, truth, grid, (1, 1))
    np.testing.assert_allclose(whole, scores.energy_score(predictive, truth, grid.weights()), rtol=1e-12)


def test_two_patches_equal_scoringrules_on_each() -> None:
    samples, truth = case()
    got = patched_energy_score(of_samples(samples), jnp.asarray(truth), operands(), (2, 1))
    scale = np.sqrt(1 / 12)  # six points, two channels
    parts = []
    for rows in (slice(0, 2), slice(2, 4)):
        drawn = np.moveaxis(scale * samples[:, :, rows].reshape(5, 2, -1), 0, 1)
        outcome = scale * truth[:, rows].reshape(2, -1)
        parts.append(sr.es_ensemble(outcome, drawn, estimator="fair", backend="numpy"))
    np.testing.assert_allclose(got, np.mean(parts, axis=0), rtol=1e-12)


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("m", [2, 3])
def test_the_expectation_does_not_depend_on_the_number_of_samples(name: str, m: int) -> None:
    atoms = np.random.default_rng(1).normal(size=(3, 4, 3, 1))
    truth = np.random.default_rng(2).normal(size=(4, 3, 1))

    def expected(number: int) -> float:
        chosen = np.array(list(itertools.product(range(3), repeat=number)))
        samples = np.moveaxis(atoms[chosen], 1, 0)
        here = jnp.broadcast_to(jnp.asarray(truth), samples.shape[1:])
        return float(SCORES[name](of_samples(samples), here, operands(), (2, 3)).mean())

    np.testing.assert_allclose(expected(m), expected(5), rtol=1e-10)


@pytest.mark.parametrize("name", SCORES)
def test_padding_operands_per_case_and_order_change_nothing(name: str) -> None:
    samples, truth = case()
    expected = SCORES[name](of_samples(samples), jnp.asarray(truth), operands(), (2, 3))
    wide = ((0, 0), (0, 3), (0, 1), (0, 0))
    padded = of_samples(np.pad(samples[::-1], ((0, 0), *wide), constant_values=np.nan))
    grid = stack_operands([operands(bucket=(7, 4))] * 2)
    got = SCORES[name](padded, jnp.pad(truth, wide, constant_values=jnp.nan), grid, (2, 3))
    np.testing.assert_allclose(got, expected, rtol=1e-12)


@pytest.mark.parametrize("name", SCORES)
def test_a_case_scores_alike_on_n_and_on_2n_points(name: str) -> None:
    def score(n: int) -> Any:
        axes = (Axis.uniform(n, placement="centre"), Axis.uniform(n, "bounded", 1.0, "centre"))
        x, y = np.meshgrid(*(2 * np.pi * axis.points for axis in axes), indexing="ij")
        waves = np.stack([np.sin(x + k) * np.cos(y / 2 + k) + 0.2 * np.cos(2 * x - k) for k in range(6)])[..., None]
        return SCORES[name](
            of_samples(waves[:, None]), jnp.asarray(np.cos(x + y)[None, ..., None]), operands(axes), (4, 4)
        )

    np.testing.assert_allclose(score(32), score(64), rtol=5e-3)


def test_cells_without_points_do_not_count() -> None:
    samples, truth = case()
    doubled, whole = (
        variogram_score(of_samples(samples), jnp.asarray(truth), operands(), cells, 0.5) for cells in ((8, 3), (4, 3))
    )
    np.testing.assert_allclose(doubled, whole)


@pytest.mark.parametrize(
    ("name", "wrong"),  # to a shift the variogram score is blind
    [*itertools.product(SCORES, ("uncorrelated", "wide")), ("patched energy", "shifted")],
)
def test_the_true_distribution_is_preferred(name: str, wrong: str) -> None:
    rng, cases, m, n = np.random.default_rng(0), 1500, 8, 6
    axis = (Axis.uniform(n, "bounded", 1.0, "centre"),)
    factor = np.linalg.cholesky(0.9 ** np.abs(np.subtract.outer(np.arange(n), np.arange(n))))
    draw = {
        "true": lambda z: z @ factor.T,
        "wide": lambda z: 1.6 * z @ factor.T,
        "uncorrelated": lambda z: z,
        "shifted": lambda z: z @ factor.T + 0.3,
    }
    truth, noise = draw["true"](rng.normal(size=(cases, n))), rng.normal(size=(m, cases, n))
    outcome, cells = jnp.asarray(truth)[..., None], (n if name == "variogram" else 3,)

    def score(which: str) -> np.ndarray:
        return np.asarray(SCORES[name](of_samples(draw[which](noise)[..., None]), outcome, operands(axis), cells))

    worse = score(wrong) - score("true")
    assert worse.mean() > 4 * worse.std() / np.sqrt(cases)


def test_coverage_by_region_finds_the_region_that_is_not_covered() -> None:
    truth = jnp.zeros((2, 4, 3, 1)).at[:, 3].set(5.0)
    found = scores.regional_coverage((truth * 0 - 1, truth * 0 + 1), truth, operands(), (2, 1))
    np.testing.assert_allclose(found[:, :, 0, 0], [[1, 0.5]] * 2)


def test_ranks_are_shares_of_the_domain_and_ties_are_even() -> None:
    samples = np.broadcast_to(np.arange(4.0)[:, None, None, None], (4, 1, 5, 1))
    truth = jnp.asarray(np.array([-1.0, 0.5, 0.5, 9.0, 9.0]))[None, :, None]
    found = scores.rank_histogram(of_samples(samples), truth, jnp.ones(5))
    np.testing.assert_allclose(found[0], [0.2, 0.4, 0, 0, 0.4], atol=1e-12)
    tied = scores.rank_histogram(of_samples(0 * samples), 0 * truth, jnp.ones(5))
    np.testing.assert_allclose(tied[0], 0.2, atol=1e-12)


def test_what_does_not_fit_is_refused() -> None:
    samples, truth = case()
    with pytest.raises(InputError, match=r"cells: got \[4\], expected 2 positive numbers"):
        scores.variogram_score(of_samples(samples), jnp.asarray(truth), operands(), (4,))
    with pytest.raises(InputError, match="samples: got 1, expected at least 2"):
        scores.patched_energy_score(of_samples(samples[:1]), jnp.asarray(truth), operands(), (2, 2))
