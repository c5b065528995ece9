"""What is kept of the curvature: the contract of the structures, and those of one array."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from pnol_jax.posteriors.laplace.evidence import Float64, Spectrum
from pnol_jax.posteriors.laplace.products import Indices, Products

Found = dict[str, Float64]  # a decomposition, as the operator cache keeps it
Arrays = Mapping[str, jax.Array]  # what prediction needs of it
Groups = NDArray[np.int64]  # the group of each entry


class Structure(Protocol):
    """How a Gauss-Newton matrix over P entries is approximated, decomposed, and made a covariance Sigma = R R^T.

    With a prior of precision T and a factor gamma on the noise, Sigma = (G / gamma + T)^-1. R does not depend on which
    eigenvectors a decomposition happens to give, nor on their signs: the same key draws the same functions everywhere.
    """

    def kept(self, active: NDArray[np.bool_]) -> Indices:
        """The entries of the subset that it is about, (P,), given which of them the mean depends on, (size,)."""
        ...

    def decompose(self, products: Products) -> Found:
        """Pass over the training cases and decompose what they give; "fit" is the cases' `Fit`."""
        ...

    def spectrum(self, found: Found, groups: Groups, count: int) -> Spectrum:
        """What the marginal likelihood needs of it, given the group of each entry and how many groups there are."""
        ...

    def root(self, found: Found, precision: Float64, gamma: float) -> Found:
        """The arrays of R, given T's diagonal (P,)."""
        ...

    def scale(self, arrays: Arrays, white: jax.Array) -> jax.Array:
        """R times vectors, (*lead, P) -> (*lead, P)."""
        ...

    def scale_transposed(self, arrays: Arrays, vectors: jax.Array) -> jax.Array:
        """R^T times vectors, (*lead, P) -> (*lead, P)."""
        ...


def entries(active: NDArray[np.bool_]) -> Indices:
    """The numbers (P,) of the entries that are kept one by one, of all (size,)."""
    return np.flatnonzero(active).astype(np.int32)


@dataclass(frozen=True)
class Independent:
    """The spectrum of a matrix whose eigenvectors do not mix groups: eigenvalues (P,), the group of each (P,)."""

    values: Float64
    groups: Groups
    count: int

    def solve(self, precision: Float64, gamma: float) -> tuple[float, Float64]:
        """As `Spectrum` has it."""
        gain = self.values / gamma / precision[self.groups]
        return float(np.log1p(gain).sum()), _by_group(self.groups, gain / (1 + gain), self.count)


@dataclass(frozen=True)
class Diagonal:
    """G by its diagonal: of G itself up to `exact` entries, above that by random vectors (`Products.sampled`)."""

    exact: int
    probes: int
    seed: int

    def kept(self, active: NDArray[np.bool_]) -> Indices:
        """All that are active."""
        return entries(active)

    def decompose(self, products: Products) -> Found:
        """The diagonal, (P,)."""
        if len(products.index) <= self.exact:
            gram, fit = products.gram()
            return {"diagonal": np.diag(gram).copy(), "fit": np.stack(fit)}
        diagonal, fit = products.sampled(jnp.square, self.probes, self.seed)
        return {"diagonal": diagonal, "fit": np.stack(fit)}

    def spectrum(self, found: Found, groups: Groups, count: int) -> Spectrum:
        """Every entry is an eigenvector."""
        return Independent(found["diagonal"], groups, count)

    def root(self, found: Found, precision: Float64, gamma: float) -> Found:
        """Standard deviations, (P,)."""
        return {"deviation": 1 / np.sqrt(found["diagonal"] / gamma + precision)}

    def scale(self, arrays: Arrays, white: jax.Array) -> jax.Array:
        """Entry by entry."""
        return arrays["deviation"] * white

    def scale_transposed(self, arrays: Arrays, vectors: jax.Array) -> jax.Array:
        """The same."""
        return arrays["deviation"] * vectors


@dataclass(frozen=True)
class Full:
    """G itself."""

    def kept(self, active: NDArray[np.bool_]) -> Indices:
        """All that are active."""
        return entries(active)

    def decompose(self, products: Products) -> Found:
        """Eigenvalues (P,) and eigenvectors (P, P); G is positive, so a negative eigenvalue is rounding."""
        gram, fit = products.gram()
        values, vectors = np.linalg.eigh(gram)
        return {"values": np.maximum(values, 0), "vectors": vectors, "fit": np.stack(fit)}

    def spectrum(self, found: Found, groups: Groups, count: int) -> Spectrum:
        """Of one group the eigenvalues tell it all."""
        if count == 1:
            return Independent(found["values"], groups, 1)
        return Dense(_matrix(found), groups, count)

    def root(self, found: Found, precision: Float64, gamma: float) -> Found:
        """The symmetric root where the prior's precision is one number, else the inverse of a Cholesky factor."""
        if np.all(precision == precision[0]):
            return {"root": (found["vectors"] / np.sqrt(found["values"] / gamma + precision)) @ found["vectors"].T}
        return {"root": np.linalg.inv(np.linalg.cholesky(_matrix(found) / gamma + np.diag(precision))).T}

    def scale(self, arrays: Arrays, white: jax.Array) -> jax.Array:
        """R w."""
        return white @ arrays["root"].T

    def scale_transposed(self, arrays: Arrays, vectors: jax.Array) -> jax.Array:
        """R^T v."""
        return vectors @ arrays["root"]


@dataclass(frozen=True)
class Dense:
    """The spectrum of a whole matrix (P, P) with several groups."""

    matrix: Float64
    groups: Groups
    count: int

    def solve(self, precision: Float64, gamma: float) -> tuple[float, Float64]:
        """As `Spectrum` has it, by a Cholesky factor of 1 + T^-1/2 G T^-1/2 / gamma."""
        outer = 1 / np.sqrt(precision[self.groups])
        factor = np.linalg.cholesky(np.eye(len(outer)) + self.matrix * outer[:, None] * outer / gamma)
        inverse = np.square(np.linalg.inv(factor)).sum(axis=0)  # the diagonal of its inverse
        determined = _by_group(self.groups, 1 - inverse, self.count)
        return 2 * float(np.log(np.diag(factor)).sum()), determined


def _by_group(groups: Groups, values: Float64, count: int) -> Float64:
    return np.asarray(np.bincount(groups, values, count), np.float64)


def _matrix(found: Found) -> Float64:
    return np.asarray((found["vectors"] * found["values"]) @ found["vectors"].T)
