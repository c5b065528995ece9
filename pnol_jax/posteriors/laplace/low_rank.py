"""The leading directions of the curvature by Lanczos, and the prior in all others."""

from dataclasses import dataclass

import jax
import numpy as np
from numpy.typing import NDArray

from pnol_jax.posteriors.laplace.evidence import Float64, Spectrum
from pnol_jax.posteriors.laplace.lanczos import lanczos
from pnol_jax.posteriors.laplace.products import Indices, Products
from pnol_jax.posteriors.laplace.structure import Arrays, Found, Groups, entries


@dataclass(frozen=True)
class LowRank:
    """G as U S U^T on a Krylov space of `rank` dimensions: `rank` passes over the training cases.

    R = T^-1/2 (1 + Q ((1 + D)^-1/2 - 1) Q^T), where Q D Q^T is T^-1/2 U S U^T T^-1/2 / gamma, is symmetric but for T.
    """

    rank: int
    seed: int

    def kept(self, active: NDArray[np.bool_]) -> Indices:
        """All that are active."""
        return entries(active)

    def decompose(self, products: Products) -> Found:
        """Eigenvalues (rank,) and eigenvectors (P, rank)."""
        size, fits = len(products.index), []

        def multiply(vector: Float64) -> Float64:
            product, fit = products.multiply(vector)
            fits.append(fit)
            return product

        values, vectors = lanczos(multiply, size, min(self.rank, size), self.seed)
        return {"values": np.maximum(values, 0), "vectors": vectors, "fit": np.stack(fits[0])}

    def spectrum(self, found: Found, groups: Groups, count: int) -> Spectrum:
        """By determinants of rank x rank."""
        vectors = found["vectors"] * np.sqrt(found["values"])
        inner = [vectors[groups == group].T @ vectors[groups == group] for group in range(count)]
        return Inner(np.stack(inner))

    def root(self, found: Found, precision: Float64, gamma: float) -> Found:
        """T^-1/2 (P,), Q (P, rank) and (1 + D)^-1/2 - 1 (rank,)."""
        outer = 1 / np.sqrt(precision)
        weighted = outer[:, None] * found["vectors"] * np.sqrt(found["values"] / gamma)
        directions, singular, _ = np.linalg.svd(weighted, full_matrices=False)
        return {"outer": outer, "directions": directions, "shrinkage": 1 / np.sqrt(1 + singular**2) - 1}

    def scale(self, arrays: Arrays, white: jax.Array) -> jax.Array:
        """R w."""
        return arrays["outer"] * _shrunk(arrays, white)

    def scale_transposed(self, arrays: Arrays, vectors: jax.Array) -> jax.Array:
        """R^T v."""
        return _shrunk(arrays, arrays["outer"] * vectors)


@dataclass(frozen=True)
class Inner:
    """The spectrum of U S U^T from S^1/2 U_g^T U_g S^1/2 for the rows U_g of each group, (groups, rank, rank)."""

    inner: Float64

    def solve(self, precision: Float64, gamma: float) -> tuple[float, Float64]:
        """As `Spectrum` has it, by Sylvester's determinant and Woodbury's inverse."""
        each = self.inner / (gamma * precision[:, None, None])
        whole = np.eye(each.shape[-1]) + each.sum(axis=0)
        return float(np.linalg.slogdet(whole)[1]), np.trace(np.linalg.solve(whole[None], each), axis1=1, axis2=2)


def _shrunk(arrays: Arrays, vectors: jax.Array) -> jax.Array:
    directions = arrays["directions"]
    return vectors + ((vectors @ directions) * arrays["shrinkage"]) @ directions.T
