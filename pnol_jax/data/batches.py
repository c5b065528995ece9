"""Batches on the host: pairs of one bucket, gathered, moved by symmetries, padded, with their grids' operands.

A pair of a steady problem is a case. Of a time-dependent one it is a window of a trajectory: the state at its start
and the coefficients are the inputs, the `unroll` states after it the outputs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from pnol_jax.bases import Basis, GridOperands
from pnol_jax.data import fields
from pnol_jax.data.augmentation import Augmentation
from pnol_jax.data.bits import Bits
from pnol_jax.data.buckets import Bucket, Shape, make_buckets
from pnol_jax.data.cases import CaseGroup, CaseSet
from pnol_jax.data.columns import Floats
from pnol_jax.data.fields import Indices
from pnol_jax.data.thinning import Thinning, thin, thin_grid
from pnol_jax.errors import InputError


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class HostBatch:
    """A batch of pairs from one bucket, as NumPy arrays in physical units, zero on padded points.

    inputs (batch, *space, channels); outputs (batch, *space, channels) or, of trajectories,
    (batch, unroll, *space, channels); grid: operands shared by all or, where grids differ, of each pair;
    cases (batch,): their numbers in the set; mask (batch,): 0 on pairs that only fill up the last batch.
    """

    inputs: Floats
    outputs: Floats
    grid: GridOperands
    cases: NDArray[np.int32]
    mask: Floats


class Gatherer:
    """The pairs of one bucket, by number.

    Args:
        stride: how many times lie between the starts of a trajectory's windows.
    """

    def __init__(
        self,
        cases: CaseSet,
        bucket: Bucket,
        unroll: int,
        stride: int,
        symmetries: Sequence[str],
        thinning: Thinning | None = None,
    ) -> None:
        self.bucket, self.unroll, self.stride = bucket, unroll, stride
        self._dtype = cases.dtype
        self._groups = [cases.groups[number] for number in bucket.groups]
        starts = np.cumsum([0, *(len(group) for group in cases.groups)])
        self._first_case = starts[list(bucket.groups)]
        self._windows = np.array([_windows(group, unroll, stride) for group in self._groups])
        self._first_pair = np.cumsum([0, *(len(g) * w for g, w in zip(self._groups, self._windows, strict=True))])
        self._augment = [Augmentation(symmetries, group.grid) for group in self._groups]
        self._thinning = thinning
        if thinning:
            for group in self._groups:
                thinning.check(group.grid)

    def __len__(self) -> int:
        return int(self._first_pair[-1])

    def __call__(self, pairs: Indices, bits: Bits | None = None, thinning: int = 0) -> HostBatch:
        """The batch of the given pairs, moved by the symmetries that their bits draw if there are any.

        `thinning`: the bits that draw which points are left out, the same for the whole batch.
        """
        groups = np.searchsorted(self._first_pair, pairs, side="right") - 1
        rows, windows = np.divmod(pairs - self._first_pair[groups], self._windows[groups])
        grids = [group.grid for group in self._groups]
        parts = []
        for number in np.unique(groups):
            here = np.flatnonzero(groups == number)
            inputs, outputs = self._read(self._groups[number], rows[here], windows[here] * self.stride)
            if bits is not None:
                inputs, outputs = self._augment[number](inputs, outputs, bits[here])
            if self._thinning:
                keep = self._thinning.draw(grids[number], thinning)
                grids[number] = thin_grid(grids[number], keep)
                inputs, outputs = thin(inputs, keep), thin(outputs, keep)
            parts.append((here, inputs, outputs))
        shape = self.bucket.shape
        return HostBatch(
            _joined([(here, inputs) for here, inputs, _ in parts], len(pairs), shape),
            _joined([(here, outputs) for here, _, outputs in parts], len(pairs), shape),
            self._thinning.operands([grids[n] for n in groups], shape, self.bucket.operands.batched, self._dtype)
            if self._thinning
            else self.bucket.operands_for(groups),
            (self._first_case[groups] + rows).astype(np.int32),
            np.ones(len(pairs), self._dtype),
        )

    def _read(self, group: CaseGroup, rows: Indices, starts: Indices) -> tuple[Floats, Floats]:
        static = fields.read(group.inputs, rows)
        if group.times is None:
            return static, fields.read(group.outputs, rows)
        states = fields.read_windows(group.outputs, rows, starts, self.unroll + 1)
        return np.concatenate([states[:, 0], static], axis=-1), states[:, 1:]


def _windows(group: CaseGroup, unroll: int, stride: int) -> int:
    """How many windows a case of the group has."""
    if group.times is None:
        return 1
    if not 1 <= unroll < group.times:
        raise InputError(
            f"training.unroll: got {unroll}, expected 1 to {group.times - 1}: there are {group.times} times"
        )
    return 1 + (group.times - 1 - unroll) // stride


def _joined(parts: list[tuple[Indices, Floats]], size: int, bucket: Shape) -> Floats:
    """The parts of a batch at their places, padded with zeros to the bucket."""
    first = parts[0][1]
    lead, channels = first.shape[1 : first.ndim - len(bucket) - 1], first.shape[-1]
    shape = (size, *lead, *bucket, channels)
    if len(parts) == 1 and first.shape == shape:
        return np.ascontiguousarray(first)
    out = np.zeros(shape, first.dtype)
    for here, values in parts:
        space = values.shape[1 + len(lead) : -1]
        index: tuple[Any, ...] = (here, *(slice(None),) * len(lead), *(slice(0, n) for n in space))
        out[index] = values
    return out


def evaluation_batches(
    cases: CaseSet,
    batch_size: int,
    bases: tuple[Basis, ...],
    buckets: Sequence[Sequence[int]] | None = None,
    unroll: int = 1,
    *,
    rows: slice | None = None,
    parts: int = 1,
) -> Iterator[HostBatch]:
    """Every pair once, in order, bucket by bucket; the last batch of each is filled up with its last pair, masked.

    `rows` and `parts` as for the training pipeline: which rows of a batch are read here, and how space is divided. A
    trajectory is cut into windows that do not overlap: with `unroll` one less than its times it is one window.
    """
    for bucket in make_buckets(cases, bases, buckets, parts):
        gather = Gatherer(cases, bucket, unroll, max(1, unroll), ())
        for start in range(0, len(gather), batch_size):
            pairs = np.arange(start, start + batch_size)[slice(None) if rows is None else rows]
            batch = gather(np.minimum(pairs, len(gather) - 1))
            yield HostBatch(
                batch.inputs, batch.outputs, batch.grid, batch.cases, (pairs < len(gather)).astype(cases.dtype)
            )
