"""Distances of features: those of a Gaussian where they are Gaussian, not hidden by tails and clusters elsewhere."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.typing import NDArray

from pnol_jax.errors import InputError
from pnol_jax.ood import FeatureGaussian, auroc
from pnol_jax.ood.gaussian import KNOWN, LEAST, LEVELS, RIDGE, SCORES

Rows = NDArray[np.float64]


def scores(known: Rows, usual: Rows, strange: Rows) -> list[float]:
    """How well the largest deviation and the distance of neighbours tell two sets apart, trained on a third."""
    fitted = FeatureGaussian.fit(known)
    return [auroc(far(jnp.asarray(usual)), far(jnp.asarray(strange))) for far in (fitted.largest, fitted.nearest)]


def plain(known: Rows, rows: Rows) -> Rows:
    """The Mahalanobis distance of features as they are."""
    off = rows - known.mean(axis=0)
    return np.asarray(np.sum(off @ np.linalg.inv(np.atleast_2d(np.cov(known.T))) * off, axis=1))


def test_a_gaussian_marginal_stays_gaussian_within_and_beyond_the_table(x64: None) -> None:
    mean, deviation, known = np.array([2.0, -1.0]), np.array([0.1, 3.0]), np.array([[0.0, 0.0], [3.0, 4.0]])
    fitted = FeatureGaussian(
        *map(jnp.asarray, (mean + deviation * SCORES[:, None], np.zeros(2), np.eye(2), known)),
    )
    z = np.array([[0.3, -0.2], [2.0, 1.0], [-9.0, 4.0], [0.0, 29.0], [80.0, 0.0]])
    features = jnp.asarray(mean + deviation * z)
    largest, nearest = np.exp(fitted.largest(features)), np.exp(fitted.nearest(features))
    z[-1, 0] = 30  # the bound
    np.testing.assert_allclose(largest, np.max(np.abs(z), axis=1), rtol=1e-4)
    apart = np.sqrt(np.mean((z[:, None] - known) ** 2, axis=-1))
    np.testing.assert_allclose(nearest, np.max(apart, axis=1), rtol=1e-5)  # of two, the farther


def test_gaussian_features_are_whitened_but_for_the_ridge() -> None:
    rng, root = np.random.default_rng(0), np.array([[2.0, 0, 0], [1, 1, 0], [-1, 1, 2]])
    known, rows = rng.normal(size=(20000, 3)) @ root.T, 2 * rng.normal(size=(50, 3))
    fitted = FeatureGaussian.fit(known)
    white = np.linalg.inv(np.linalg.cholesky(np.corrcoef(known.T) + RIDGE * np.eye(3))).T / known.std(axis=0)[:, None]
    largest = np.max(np.abs(rows @ root.T @ white), axis=1)
    np.testing.assert_allclose(fitted.largest(jnp.asarray(rows @ root.T)), np.log(largest), atol=0.1)
    np.testing.assert_allclose(largest, np.max(np.abs(rows), axis=1), rtol=0.3)  # each given those before
    kept = np.linspace(0, len(known) - 1, KNOWN).round().astype(int)
    apart = ((rows @ root.T)[:, None] - known[kept]) @ white
    fifth = np.sort(np.mean(apart**2, axis=-1), axis=1)[:, 4]
    np.testing.assert_allclose(fitted.nearest(jnp.asarray(rows @ root.T)), np.log(fifth) / 2, atol=0.15)


def test_a_heavy_tail_hides_no_shift() -> None:
    rng, z, shift = np.random.default_rng(0), np.random.default_rng(1).normal(size=(2, 100000)), -3
    known, usual, strange = (10 * np.exp(1.5 * (rng.normal(size=(1000, 1)) + off)) for off in (0, 0, shift))
    assert auroc(plain(known, usual), plain(known, strange)) < 0.88
    expected = np.mean(np.abs(z[1] + shift) > np.abs(z[0]))  # of what is Gaussian after a logarithm
    np.testing.assert_allclose(scores(known, usual, strange)[0], expected, atol=0.03)


def test_a_cluster_of_constant_fields_hides_no_shift() -> None:
    rng, several = np.random.default_rng(0), []
    for off in (0.0, 0.0, 2.5):
        rows = rng.normal(size=(1000, 2)) + off
        rows[: 0 if off else 80] = -20
        several.append(rng.permutation(rows))
    known, usual, strange = several
    assert auroc(plain(known, usual), plain(known, strange)) < 0.8
    assert min(scores(known, usual, strange)) > 0.9


def test_neighbours_tell_what_lies_amid_the_training_cases() -> None:
    rng, several = np.random.default_rng(0), []
    for radius in (1, 1, 0):
        angle = rng.uniform(0, 2 * np.pi, 1000)
        several.append(radius * np.stack([np.cos(angle), np.sin(angle)], axis=1) + 0.1 * rng.normal(size=(1000, 2)))
    largest, nearest = scores(*several)
    assert largest < 0.1
    assert nearest > 0.95


def test_constant_features_and_few_cases_are_measured_in_the_least_deviation() -> None:
    fitted = FeatureGaussian.fit(np.tile([1.0, 5.0], (3, 1)))
    usual, off, lost = (jnp.asarray([[1.0 + step, 5.0]]) for step in (0.0, 10 * LEAST, np.nan))
    assert fitted.largest(usual) < np.log(1e-2)
    assert np.isfinite(fitted.nearest(off))
    assert fitted.largest(off) > np.log(9)
    assert np.isnan(fitted.largest(lost)).all()
    assert np.isnan(fitted.nearest(lost)).all()
    with pytest.raises(InputError, match="not a number"):
        FeatureGaussian.fit(np.array([[np.nan]]))


def test_training_cases_are_thinned_evenly_and_types_and_copies_agree(x64: None) -> None:
    rows = np.random.default_rng(0).normal(size=(2 * KNOWN + 1, 2)) + np.linspace(-9, 9, 2 * KNOWN + 1)[:, None]
    fitted = FeatureGaussian.fit(rows)
    assert fitted.quantiles.shape == (len(LEVELS), 2)
    assert fitted.known.shape == (KNOWN, 2)
    every = FeatureGaussian.fit(rows[:KNOWN])
    assert every.known.shape == (KNOWN, 2)
    assert float(jnp.max(fitted.nearest(jnp.asarray(rows)))) < np.log(3)
    arrays = {f"there.{name}": value for name, value in fitted.to_dict().items()}
    again = FeatureGaussian.from_dict(arrays, "there.")
    for wide, narrow in ((fitted.largest, again.largest), (fitted.nearest, again.nearest)):
        found = jax.jit(narrow)(jnp.asarray(rows, jnp.float32))
        assert found.dtype == jnp.float32
        np.testing.assert_allclose(found, wide(jnp.asarray(rows)), atol=2e-3)


def test_the_largest_deviation_needs_no_training_cases() -> None:
    rows = np.random.default_rng(0).normal(size=(100, 3))
    kept, bare = FeatureGaussian.fit(rows), FeatureGaussian.fit(rows, known=0)
    assert bare.known.shape == (0, 3)
    np.testing.assert_array_equal(bare.largest(jnp.asarray(rows)), kept.largest(jnp.asarray(rows)))
