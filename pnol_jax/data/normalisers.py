"""Mean and standard deviation of every channel over the training cases, as arrays that travel with a model.

With quadrature weights w (sum |D|) on each case's grid, over all cases (and times) i,

    mean = 1/N sum_i 1/|D| int f_i dx,      std^2 = 1/N sum_i 1/|D| int (f_i - mean)^2 dx,

so that a case counts the same on a coarse grid as on a fine one. Computed in float64, in pieces that are merged by
the formula of Chan, Golub and LeVeque (1983), so that fields on the disk are read once.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypeVar

import numpy as np

from pnol_jax.data import fields
from pnol_jax.data.cases import CaseSet
from pnol_jax.data.columns import Floats
from pnol_jax.data.fields import Field
from pnol_jax.grids import Float64, Grid

ArrayT = TypeVar("ArrayT")
# Of the largest value: below it a channel's spread is the rounding of float32, in which most files are written.
CONSTANT = 1e-6


class Moments(NamedTuple):
    """Number of functions, mean and summed squared deviation of each channel, and the largest magnitude."""

    functions: int
    mean: Float64
    spread: Float64
    largest: Float64


def fit_normaliser(cases: CaseSet) -> dict[str, Floats]:
    """`inputs.mean`, `inputs.std`, `outputs.mean`, `outputs.std` of the channels that a model sees, (channels,).

    Of a time-dependent set the inputs are the state, then the coefficients. A channel that is constant gets 1 for
    its standard deviation.
    """
    outputs = _moments(_pieces(cases, "outputs"), cases.output_channels)
    static = _moments(_pieces(cases, "inputs"), cases.groups[0].inputs.shape[-1])
    inputs = [outputs, static] if cases.trajectories else [static]
    return {
        "inputs.mean": np.concatenate([part.mean for part in inputs]).astype(cases.dtype),
        "inputs.std": np.concatenate([_std(part) for part in inputs]).astype(cases.dtype),
        "outputs.mean": outputs.mean.astype(cases.dtype),
        "outputs.std": _std(outputs).astype(cases.dtype),
    }


def normalise(values: ArrayT, mean: ArrayT, std: ArrayT) -> ArrayT:
    """Physical units to unit spread: (values - mean) / std, over the last axis; for NumPy and in compiled code."""
    return (values - mean) / std  # type: ignore[operator,no-any-return]


def denormalise(values: ArrayT, mean: ArrayT, std: ArrayT) -> ArrayT:
    """Unit spread to physical units: values * std + mean, over the last axis; for NumPy and in compiled code."""
    return values * std + mean  # type: ignore[operator,no-any-return]


def _pieces(cases: CaseSet, which: str) -> Iterator[tuple[Grid, Floats]]:
    for group in cases.groups:
        field: Field = getattr(group, which)
        for piece in fields.chunks(field):
            yield group.grid, piece


def _moments(pieces: Iterable[tuple[Grid, Floats]], channels: int) -> Moments:
    total = Moments(0, *np.zeros((3, channels)))
    for grid, piece in pieces:
        total = _merge(total, _piece_moments(grid, piece))
    return total


def _piece_moments(grid: Grid, piece: Floats) -> Moments:
    weights = grid.weights().ravel()
    weights = weights / weights.sum()
    functions = int(np.prod(piece.shape[: -grid.ndim - 1]))
    values = piece.reshape(functions, weights.size, piece.shape[-1]).astype(np.float64)
    mean = np.einsum("npc,p->c", values, weights) / functions
    largest = np.abs(values).max(axis=(0, 1))
    values -= mean
    return Moments(functions, mean, np.einsum("npc,npc,p->c", values, values, weights), largest)


def _merge(a: Moments, b: Moments) -> Moments:
    count, apart = a.functions + b.functions, b.mean - a.mean
    mean = a.mean + apart * (b.functions / count)
    spread = a.spread + b.spread + apart**2 * (a.functions * b.functions / count)
    return Moments(count, mean, spread, np.maximum(a.largest, b.largest))


def _std(moments: Moments) -> Float64:
    std = np.sqrt(moments.spread / moments.functions)
    return np.where(std <= CONSTANT * moments.largest, 1.0, std)
