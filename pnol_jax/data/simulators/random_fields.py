"""Gaussian random functions as sums of waves: the same function on every grid.

The covariance is sigma^2 (-Laplace + tau^2)^-alpha, so a wave of angular wave number k has the standard deviation
sigma (|k|^2 + tau^2)^(-alpha / 2) (Li et al. 2021, appendix A.3).
"""

from collections.abc import Sequence
from functools import reduce

import numpy as np

from pnol_jax.grids import Axis, Float64


def random_function(
    generator: np.random.Generator, axes: Sequence[Axis], modes: int, sigma: float, tau: float, alpha: float
) -> Float64:
    """A draw at the points of the axes, (*space): Fourier on a periodic axis, cosines (no flux) on a bounded one.

    Waves up to number `modes` are kept on every axis. What is drawn depends on neither the points nor their number.
    """
    waves = [_waves(axis, modes) for axis in axes]
    squares = reduce(np.add.outer, [np.square(k) for k, _ in waves])
    field: Float64 = generator.standard_normal(squares.shape) * sigma * (squares + tau**2) ** (-alpha / 2)
    for position, (_, functions) in enumerate(waves):
        field = np.moveaxis(np.tensordot(field, functions, axes=(position, 1)), -1, position)
    return field


def _waves(axis: Axis, modes: int) -> tuple[Float64, Float64]:
    """Angular wave numbers (K,) and the waves at the points, (n, K), of unit mean square."""
    x = axis.points[:, None]
    if axis.kind == "bounded":
        k = np.asarray(np.pi * np.arange(modes + 1) / axis.length)
        return k, np.where(k == 0, 1.0, np.sqrt(2)) * np.cos(k * x)
    k = np.asarray(2 * np.pi * np.arange(1, modes + 1) / axis.length)
    functions = [np.ones_like(x), np.sqrt(2) * np.cos(k * x), np.sqrt(2) * np.sin(k * x)]
    return np.concatenate([[0.0], k, k]), np.concatenate(functions, axis=1)
