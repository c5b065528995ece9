"""Bases of functions on an axis as matrices, and the operands that carry a grid into a compiled program.

A basis is K functions s_1 ... s_K on an axis. On points x_1 ... x_n with quadrature weights w it gives two matrices:

- synthesis S[i, j] = s_j(x_i): coefficients -> samples, f = S c;
- analysis A, samples -> coefficients, c = A^T f. With W = diag(w / sum w) and the Gram matrix G = S^T W S it is
  A = W S G^-1, the weighted least-squares projection; on uniform points, where the functions are orthogonal, that is
  the discrete Fourier or cosine transform. For the nearly dependent functions of a padded basis it is A = W S, the
  inner products alone: dividing by G would blow up what a learned layer then has to scale down again.

A third one gives derivatives of a field's projection, f' = D A^T f.

Matrices are made in NumPy at float64 and rounded once. Padding an axis to a bucket adds zero rows to every matrix, so
that a padded field has the coefficients of the unpadded one.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax
import numpy as np
from numpy.typing import NDArray

from pnol_jax.errors import InputError
from pnol_jax.grids import Axis, Float64, Grid

BasisKind = Literal["fourier", "cosine", "padded"]


@dataclass(frozen=True)
class Basis:
    """A family of functions on an axis of length L.

    - "fourier": wave numbers 0 ... kmax = modes // 2 of period L. Columns are [cos 0..kmax | sin 0..kmax], the
      doubled form in S: f = c_0 + sum_k 2 (c_k cos + s_k sin), so that c_k - i s_k is the Fourier coefficient of
      wave number k (the column sin 0 is zero and only keeps the halves equal). `modes` counts both signs, as in
      the literature: -modes/2 ... (modes-1)/2 on every axis but the last, 0 ... modes/2 on the last.
    - "cosine": 1, sqrt(2) cos(pi k x / L), k < modes.
    - "padded": 1, sqrt(2) cos(2 pi k x / P), sqrt(2) sin(2 pi k x / P), `modes` of them, of period P = padding L:
      a Fourier basis for functions that are not periodic. They are nearly dependent on [0, L], a frame rather than
      a basis; `ridge` steadies the projection by which derivatives are taken.
    """

    kind: BasisKind
    modes: int
    padding: float = 1.25
    ridge: float = 1e-6

    def __post_init__(self) -> None:
        if self.kind not in ("fourier", "cosine", "padded"):
            raise InputError(f"basis: got {self.kind!r}, expected 'fourier', 'cosine' or 'padded'")
        if self.modes < 1:
            raise InputError(f"modes: got {self.modes}, expected at least 1")
        if self.kind == "padded" and self.padding <= 1:
            raise InputError(f"padding: got {self.padding:g}, expected more than 1")

    @property
    def paired(self) -> bool:
        """Whether the columns are cosine and sine halves that combine to complex wave numbers."""
        return self.kind == "fourier"

    @property
    def functions(self) -> int:
        """The number of columns, K."""
        return 2 * (self.modes // 2 + 1) if self.paired else self.modes

    @property
    def least_points(self) -> int:
        """The number of points below which the functions cannot be told apart."""
        return 2 * (self.modes // 2) + 1 if self.paired else self.modes

    def _waves(self, length: float) -> tuple[Float64, Float64]:
        """Angular wave numbers (K,) and which columns are sines (K,)."""
        if self.kind == "cosine":
            return np.asarray(np.pi * np.arange(self.modes) / length), np.zeros(self.modes)
        if self.kind == "fourier":
            k = np.arange(self.modes // 2 + 1)
            return 2 * np.pi * np.concatenate([k, k]) / length, np.repeat([0.0, 1.0], k.size)
        cosines, sines = np.arange(self.modes // 2 + 1), np.arange(1, (self.modes + 1) // 2)
        waves: Float64 = 2 * np.pi * np.concatenate([cosines, sines]) / (self.padding * length)
        return waves, np.repeat([0.0, 1.0], [cosines.size, sines.size])

    def wave_numbers(self, length: float) -> Float64:
        """The functions' wave numbers in cycles per unit of length, (K,)."""
        return np.asarray(self._waves(length)[0] / (2 * np.pi))

    def _scale(self, waves: Float64) -> Float64:
        return np.where(waves == 0, 1.0, 2.0 if self.paired else np.sqrt(2.0))

    def waves(self) -> Float64:
        """The angular wave number of each function on an axis of length 1, (K,)."""
        return self._waves(1.0)[0]

    def sizes(self) -> Float64:
        """The root mean square of each function over its period, (K,); a sine of wave number 0 counts as a constant."""
        waves = self.waves()
        return self._scale(waves) / np.where(waves == 0, 1.0, np.sqrt(2.0))

    def synthesis(self, points: Float64, length: float) -> Float64:
        """The functions at the points, (n, K)."""
        waves, sine = self._waves(length)
        angle = points[:, None] * waves
        return self._scale(waves) * np.where(sine, np.sin(angle), np.cos(angle))

    def slopes(self, points: Float64, length: float) -> Float64:
        """The functions' derivatives at the points, (n, K), per unit of length."""
        waves, sine = self._waves(length)
        angle = points[:, None] * waves
        return self._scale(waves) * waves * np.where(sine, np.cos(angle), -np.sin(angle))

    def analysis(self, axis: Axis) -> Float64:
        """The matrix A from samples on the axis to coefficients, (n, K)."""
        weighted = self._weighted(axis)
        return weighted if self.kind == "padded" else np.asarray(weighted @ self._inverse_gram(axis))

    def derivative(self, axis: Axis) -> Float64:
        """The matrix D from coefficients to the derivative of the projection on the axis, (n, K)."""
        slopes = self.slopes(axis.points, axis.length)
        return np.asarray(slopes @ self._inverse_gram(axis)) if self.kind == "padded" else slopes

    def _weighted(self, axis: Axis) -> Float64:
        share = axis.weights()[:, None] / axis.length
        return np.asarray(share * self.synthesis(axis.points, axis.length))

    def _inverse_gram(self, axis: Axis) -> Float64:
        gram = self.synthesis(axis.points, axis.length).T @ self._weighted(axis)
        if self.kind == "padded":
            return np.asarray(np.linalg.inv(gram + self.ridge * np.eye(self.modes)), np.float64)
        return np.asarray(np.linalg.pinv(gram, rcond=1e-10, hermitian=True))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class AxisOperands:
    """What a compiled program knows of an axis. Every leaf may have a leading batch axis: operands per case.

    points, (n,): coordinates as fractions of the length; weights, (n,): quadrature, in units of length; mask, (n,):
    1 on points, 0 on padding; analysis, synthesis, derivative, (n, K): the basis' matrices. All zero on padding.
    """

    points: Any
    weights: Any
    mask: Any
    analysis: Any
    synthesis: Any
    derivative: Any


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class GridOperands:
    """What a compiled program knows of a grid: the operands of its axes."""

    axes: tuple[AxisOperands, ...]

    @property
    def batched(self) -> bool:
        """Whether each case has operands of its own (rank 3) or all share one set (rank 2)."""
        return bool(np.ndim(self.axes[0].analysis) == 3)

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of points on each axis, padding included."""
        return tuple(axis.points.shape[-1] for axis in self.axes)

    def mask(self) -> Any:
        """1 on the grid's points, 0 on padding: (*space), or (batch, *space) where operands are per case."""
        return self._outer([axis.mask for axis in self.axes])

    def weights(self) -> Any:
        """Quadrature weights, zero on padding: (*space), or (batch, *space) where operands are per case."""
        return self._outer([axis.weights for axis in self.axes])

    def _outer(self, factors: list[Any]) -> Any:
        product = factors[0]
        for factor in factors[1:]:
            extra = factor if factor.ndim == 1 else factor.reshape(-1, *(1,) * (product.ndim - 1), factor.shape[-1])
            product = product[..., None] * extra
        return product


def _check(axis: Axis, basis: Basis, position: int) -> None:
    if axis.n < basis.least_points:
        raise InputError(
            f"modes[{position}]: {basis.modes} modes ({basis.kind}) need at least {basis.least_points} points on "
            f"axis {position}, the grid has {axis.n}"
        )
    if basis.kind == "fourier" and axis.kind == "bounded":
        raise InputError(
            f"basis[{position}]: 'fourier' is for a periodic axis, axis {position} is bounded; "
            "expected 'padded' or 'cosine'"
        )
    if basis.kind != "fourier" and axis.kind == "periodic":
        raise InputError(f"basis[{position}]: {basis.kind!r} is for a bounded axis, axis {position} is periodic")


def _axis_operands(axis: Axis, basis: Basis, size: int, dtype: Any) -> AxisOperands:
    def padded(array: NDArray[Any]) -> NDArray[Any]:
        out = np.zeros((size, *array.shape[1:]), dtype)
        out[: axis.n] = array
        out.setflags(write=False)
        return out

    return AxisOperands(
        points=padded(axis.points / axis.length),
        weights=padded(axis.weights()),
        mask=padded(np.ones(axis.n)),
        analysis=padded(basis.analysis(axis)),
        synthesis=padded(basis.synthesis(axis.points, axis.length)),
        derivative=padded(basis.derivative(axis)),
    )


@functools.lru_cache(maxsize=256)
def make_operands(
    grid: Grid, bases: tuple[Basis, ...], bucket: tuple[int, ...] | None = None, dtype: str = "float32"
) -> GridOperands:
    """The operands of a grid for the given bases, as NumPy arrays, padded to `bucket` points per axis if given.

    Raises:
        InputError: an axis has too few points for its modes, or of the wrong kind; or the grid exceeds the bucket.
    """
    sizes = grid.shape if bucket is None else bucket
    if len(bases) != grid.ndim or len(sizes) != grid.ndim:
        raise InputError(f"grid has {grid.ndim} axes, got {len(bases)} bases and a bucket of {len(sizes)} axes")
    if any(n > size for n, size in zip(grid.shape, sizes, strict=True)):
        raise InputError(f"grid of {grid.shape} points does not fit into the bucket {tuple(sizes)}")
    for position, (axis, basis) in enumerate(zip(grid.axes, bases, strict=True)):
        _check(axis, basis, position)
    parts = zip(grid.axes, bases, sizes, strict=True)
    return GridOperands(tuple(_axis_operands(axis, basis, size, dtype) for axis, basis, size in parts))


def stack_operands(cases: Sequence[GridOperands]) -> GridOperands:
    """Operands per case, each leaf with a leading batch axis, from operands padded to one bucket."""
    shapes = {case.shape for case in cases}
    if len(shapes) != 1:
        raise InputError(f"operands of one batch must share a bucket, got {sorted(shapes)}")
    stacked: GridOperands = jax.tree.map(lambda *leaves: np.stack(leaves), *cases)
    return stacked
