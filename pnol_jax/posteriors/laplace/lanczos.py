"""The leading eigenpairs of a symmetric matrix by products with it (Lanczos 1950), fully reorthogonalised."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
BREAKDOWN = 1e-12  # of the largest coefficient so far: below it the subspace is invariant


def lanczos(multiply: Callable[[Float64], Float64], size: int, rank: int, seed: int) -> tuple[Float64, Float64]:
    """Eigenvalues (rank,), the largest first, and eigenvectors (size, rank) of a matrix on a Krylov space.

    Every new vector is made orthogonal to all before it, twice (Parlett 1998, Section 13.8). Where the space is
    invariant, as it is at the latest when all eigenvectors of one eigenvalue but one are missing, it goes on with a
    random direction orthogonal to it, so that with `rank` = `size` the answer is the whole decomposition.

    Args:
        multiply: the matrix times a vector.
        size: its number of rows.
        rank: products, each of which adds a dimension to the space.
        seed: of the random directions.
    """
    draws = np.random.default_rng(seed)
    basis, diagonal, beside = np.zeros((rank, size)), np.zeros(rank), np.zeros(rank)
    vector, scale = draws.standard_normal(size), 0.0
    vector /= np.linalg.norm(vector)
    for step in range(rank):
        basis[step] = vector
        product = multiply(vector)
        diagonal[step] = vector @ product
        scale = max(scale, abs(diagonal[step]), beside[step])
        vector = _orthogonal(product, basis[: step + 1])
        norm = float(np.linalg.norm(vector))
        if norm <= BREAKDOWN * scale:
            vector = _orthogonal(draws.standard_normal(size), basis[: step + 1])
            vector /= np.linalg.norm(vector) or 1.0
        elif step + 1 < rank:
            beside[step + 1], vector = norm, vector / norm
    tridiagonal = np.diag(diagonal) + np.diag(beside[1:], 1) + np.diag(beside[1:], -1)
    values, vectors = np.linalg.eigh(tridiagonal)
    return values[::-1], basis.T @ vectors[:, ::-1]


def _orthogonal(vector: Float64, basis: Float64) -> Float64:
    for _ in range(2):
        vector = vector - basis.T @ (basis @ vector)
    return vector
