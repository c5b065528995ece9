"""Lanczos against matrices whose decompositions are known."""

import numpy as np
import pytest

from pnol_jax.posteriors.laplace.lanczos import lanczos


def matrix(values: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A symmetric matrix with these eigenvalues, and its eigenvectors."""
    vectors = np.linalg.qr(np.random.default_rng(seed).standard_normal((values.size, values.size)))[0]
    return (vectors * values) @ vectors.T, vectors


@pytest.mark.parametrize(
    "values",
    [np.geomspace(1, 1e-9, 30), np.repeat([3.0, 2.0, 0.5], 10), np.zeros(30), np.r_[np.full(29, 0.0), 7.0]],
    ids=["decaying", "repeated", "zero", "one"],
)
def test_the_whole_rank_gives_the_whole_decomposition(values: np.ndarray) -> None:
    """Also where one vector spans a space of far fewer dimensions, since its eigenvalues repeat."""
    A, _ = matrix(values)
    found, vectors = lanczos(lambda v: A @ v, 30, 30, 0)
    np.testing.assert_allclose(np.sort(found), np.sort(values), atol=1e-13)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(30), atol=1e-13)
    np.testing.assert_allclose((vectors * found) @ vectors.T, A, atol=1e-13)


def test_leading_eigenpairs_come_first() -> None:
    """With a gap of 1.5 between eigenvalues 20 products find the first four to rounding."""
    values = 1.5 ** -np.arange(200.0)
    A, exact = matrix(values)
    found, vectors = lanczos(lambda v: A @ v, 200, 20, 1)
    np.testing.assert_allclose(found[:4], values[:4], rtol=1e-10)
    np.testing.assert_allclose(np.abs(np.sum(vectors[:, :4] * exact[:, :4], axis=0)), 1, rtol=1e-10)
    assert np.all(np.diff(found) <= 0)
