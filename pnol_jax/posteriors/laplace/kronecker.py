"""The curvature layer by layer as Kronecker products (Martens and Grosse 2015), of a spectral layer mode by mode.

A parameter is taken as matrices W, one a mode: (modes, rows, columns). The kernel of a pointwise linear layer is one
matrix, its bias another row of it; of a spectral kernel rows are the channels in and columns those out, real and
imaginary part. For each matrix G is approximated by A x B / tr(A), where A and B are G's partial traces over columns
and rows: for a gradient W' of random signs (`Products.sampled`) A = E[W' W'^T] and B = E[W'^T W']. It has G's trace
and is G where G is such a product, weight sharing over the points included; between layers and modes it is zero. What
has no matrix, such as gates, scales and the bias of a spectral layer, is one row, of which B is all of G.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from pnol_jax.errors import InputError
from pnol_jax.posteriors.laplace.evidence import Float64, Spectrum
from pnol_jax.posteriors.laplace.products import Indices, Products
from pnol_jax.posteriors.laplace.structure import Arrays, Found, Groups, Independent
from pnol_jax.posteriors.laplace.subset import Subset

Shape = tuple[int, int, int]  # modes, rows, columns
LARGEST = 4096  # rows or columns of a factor


def matrices(subset: Subset) -> list[tuple[slice, Shape]]:
    """The parameters of a subset as matrices: where each stands in the vector, and its shape.

    Raises:
        InputError: a parameter that is not made of matrices, or of too large ones.
    """
    found: list[tuple[slice, Shape]] = []
    for name, span in subset.spans():
        shape = _shape(name, subset)
        bias = found[-1] if found else None
        if bias and len(subset.shapes[name]) == 2 and _is_bias_of(name, subset) and bias[1] == (1, 1, shape[2]):
            found[-1] = slice(bias[0].start, span.stop), (1, shape[1] + 1, shape[2])
        else:
            found.append((span, shape))
        if max(found[-1][1][1:]) > LARGEST:
            raise InputError(
                f"posterior.structure: 'kronecker' would need factors of {max(found[-1][1][1:])} rows for {name}, "
                f"expected at most {LARGEST}; 'diagonal' and 'low_rank' need none"
            )
    return found


def _is_bias_of(name: str, subset: Subset) -> bool:
    names = list(subset.shapes)
    return names[names.index(name) - 1] == name.removesuffix("kernel") + "bias"


def _shape(name: str, subset: Subset) -> Shape:
    shape, axes = subset.shapes[name], subset.names.get(name, ())
    if len(shape) < 3:
        return (1, 1, *shape) if len(shape) == 1 else (1, *shape)  # type: ignore[return-value]
    if axes[-2] == "in":
        return math.prod(shape[:-2]), shape[-2], shape[-1]
    if axes[-3] == "in":
        return math.prod(shape[:-3]), shape[-3], shape[-2] * shape[-1]
    raise InputError(
        f"posterior.structure: 'kronecker' knows no rows and columns of {name}, {shape}; expected vectors, kernels "
        "(in, out) and spectral kernels (*modes, in, out); leave it out by posterior.parameters, or take 'diagonal'"
    )


@dataclass(frozen=True)
class Kronecker:
    """G by its partial traces: exactly up to `exact` entries, above that by random vectors.

    `whole` are the matrices of the subset; rows and columns of no effect are left out of them by `kept`.
    """

    subset: Subset
    exact: int
    probes: int
    seed: int

    def kept(self, active: NDArray[np.bool_]) -> Indices:
        """The rows and columns of every matrix in which anything is active."""
        return np.concatenate([index.ravel() for index in self._kept(active)]).astype(np.int32)

    def _kept(self, active: NDArray[np.bool_]) -> Iterator[NDArray[np.intp]]:
        for span, shape in matrices(self.subset):
            index, there = np.arange(span.start, span.stop).reshape(shape), active[span].reshape(shape)
            yield index[:, there.any(axis=(0, 2))][:, :, there.any(axis=(0, 1))]

    def shapes(self, index: NDArray[np.int32]) -> list[Shape]:
        """The matrices' shapes, (modes, rows, columns) each, of the kept entries (P,)."""
        shapes = []
        for span, (modes, rows, columns) in matrices(self.subset):
            here = index[(index >= span.start) & (index < span.stop)] - span.start
            if here.size:
                row, column = here // columns % rows, here % columns
                shapes.append((modes, len(np.unique(row)), len(np.unique(column))))
        return shapes

    def decompose(self, products: Products) -> Found:
        """Of matrix i the factors' eigenvectors `left.i` and `right.i`, (modes, n, n), and eigenvalues `values.i`."""
        shapes = self.shapes(products.index)
        if len(products.index) <= self.exact:
            gram, fit = products.gram()
            factors = _traces(gram, shapes)
        else:
            factors, fit = products.sampled(lambda vector: _outer(vector, shapes), self.probes, self.seed)
        found: Found = {"fit": np.stack(fit)}
        for number, (left, right) in enumerate(factors):
            trace = np.trace(left, axis1=1, axis2=2)
            (a, found[f"left.{number}"]), (b, found[f"right.{number}"]) = np.linalg.eigh(left), np.linalg.eigh(right)
            over = np.where(trace > 0, trace, 1)[:, None, None]
            found[f"values.{number}"] = np.maximum(a, 0)[:, :, None] * np.maximum(b, 0)[:, None, :] / over
        return found

    def spectrum(self, found: Found, groups: Groups, count: int) -> Spectrum:
        """Eigenvectors are products of those of the factors, so none is of two groups."""
        values = np.concatenate([value.ravel() for value in _in_order(found, "values")])
        return Independent(values, groups, count)

    def root(self, found: Found, precision: Float64, gamma: float) -> Found:
        """The factors' eigenvectors, and standard deviations in them."""
        arrays, start = dict(found), 0
        for number, values in enumerate(_in_order(found, "values")):
            prior = precision[start : start + values.size].reshape(values.shape)
            arrays[f"deviation.{number}"] = 1 / np.sqrt(arrays.pop(f"values.{number}") / gamma + prior)
            start += values.size
        return arrays

    def scale(self, arrays: Arrays, white: jax.Array) -> jax.Array:
        """R w, with the symmetric root: into the eigenvectors, times deviations, and back."""
        parts = []
        for left, right, deviation, part in _parts(arrays, white):
            turned = deviation * jnp.einsum("mij,...mil,mlk->...mjk", left, part, right)
            parts.append(jnp.einsum("mij,...mjk,mlk->...mil", left, turned, right))
        return _joined(parts, white)

    def scale_transposed(self, arrays: Arrays, vectors: jax.Array) -> jax.Array:
        """The same."""
        return self.scale(arrays, vectors)


def _in_order(found: Arrays | Found, name: str) -> list[NDArray[np.float64]]:
    count = sum(key.startswith("right.") for key in found)
    return [found[f"{name}.{number}"] for number in range(count)]  # type: ignore[misc]


def _parts(arrays: Arrays, vectors: jax.Array) -> Iterator[tuple[jax.Array, ...]]:
    start = 0
    for number in range(sum(key.startswith("right.") for key in arrays)):
        left, right, deviation = (arrays[f"{name}.{number}"] for name in ("left", "right", "deviation"))
        part = vectors[..., start : start + deviation.size].reshape(*vectors.shape[:-1], *deviation.shape)
        start += deviation.size
        yield left, right, deviation, part


def _joined(parts: Sequence[jax.Array], like: jax.Array) -> jax.Array:
    return jnp.concatenate([part.reshape(*like.shape[:-1], -1) for part in parts], axis=-1)


def _split(vector: jax.Array, shapes: Sequence[Shape]) -> Iterator[jax.Array]:
    start = 0
    for shape in shapes:
        stop = start + math.prod(shape)
        yield vector[start:stop].reshape(shape)
        start = stop


def _outer(vector: jax.Array, shapes: Sequence[Shape]) -> list[tuple[jax.Array, jax.Array]]:
    """A = W W^T and B = W^T W of every matrix of a vector."""
    return [(jnp.einsum("mij,mkj->mik", w, w), jnp.einsum("mji,mjk->mik", w, w)) for w in _split(vector, shapes)]


def _traces(gram: Float64, shapes: Sequence[Shape]) -> list[tuple[Float64, Float64]]:
    """The partial traces of a matrix over all entries."""
    factors, start = [], 0
    for modes, rows, columns in shapes:
        size = modes * rows * columns
        block = gram[start : start + size, start : start + size].reshape(modes, rows, columns, modes, rows, columns)
        factors.append((np.einsum("mijmkj->mik", block), np.einsum("mjimjk->mik", block)))
        start += size
    return factors
