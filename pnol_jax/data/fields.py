"""Fields of many cases: in memory as NumPy arrays, or left on the disk and read case by case.

A `LazyField` looks like an array of shape (cases, [times,] *space, channels) whose channels may come from several
stored arrays of any number type, all read as one.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pnol_jax.data.columns import Column, Floats

Indices = NDArray[np.intp]
IN_MEMORY_BYTES = 2**28  # of one field


def _runs(rows: Indices) -> Iterator[slice]:
    """Consecutive stretches of row numbers."""
    if rows.size:
        for run in np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1):
            yield slice(int(run[0]), int(run[-1]) + 1)


@dataclass(frozen=True, eq=False)
class LazyField:
    """Fields of many cases that stay on the disk. `rows` are the cases kept, `origin` a digest of the files."""

    columns: tuple[Column, ...]
    rows: Indices
    origin: str

    @property
    def shape(self) -> tuple[int, ...]:
        """(cases, [times,] *space, channels)."""
        return (self.rows.size, *self.columns[0].shape[:-1], sum(column.shape[-1] for column in self.columns))

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of what is read."""
        return self.columns[0].dtype

    @property
    def nbytes(self) -> int:
        """The size that the whole would have in memory."""
        return self.dtype.itemsize * int(np.prod(self.shape, dtype=np.int64))

    def __len__(self) -> int:
        return int(self.rows.size)

    def __getitem__(self, key: Any) -> Floats:
        """Read cases, by an integer, a slice or an array of indices; further indices act on what was read."""
        first, rest = (key[0], key[1:]) if isinstance(key, tuple) else (key, ())
        chosen = self.rows[first]
        if np.ndim(chosen) == 0:
            return np.asarray(self._read(chosen[None])[0][rest])
        return self._read(chosen)[(slice(None), *rest)]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[:], dtype)

    def _read(self, rows: Indices) -> Floats:
        out = np.empty((rows.size, *self.shape[1:]), self.dtype)
        ends = np.cumsum([column.shape[-1] for column in self.columns])
        for column, end in zip(self.columns, ends, strict=True):
            filled = 0
            for run in _runs(rows):
                size = run.stop - run.start
                out[filled : filled + size, ..., end - column.shape[-1] : end] = column.read(run)
                filled += size
        return out

    def take(self, rows: Indices) -> "LazyField":
        """The field of some of the cases, nothing read."""
        return replace(self, rows=self.rows[rows])

    def keep(self, cut: tuple[slice, ...]) -> "LazyField":
        """The field on fewer points, by slices for the space axes, nothing read."""
        return replace(self, columns=tuple(column.keep(cut) for column in self.columns))

    def window(self, start: int, length: int) -> "LazyField":
        """The field at `length` times from `start` on, nothing read."""
        return replace(self, columns=tuple(column.window(start, length) for column in self.columns))


Field = Floats | LazyField


def loaded(field: LazyField, limit: int = IN_MEMORY_BYTES) -> Field:
    """The field in memory if it is small, else as it is."""
    return field[:] if field.nbytes <= limit else field


def take(field: Field, rows: Indices) -> Field:
    """Some of the cases."""
    return field.take(rows) if isinstance(field, LazyField) else field[rows]


def keep(field: Field, cut: tuple[slice, ...]) -> Field:
    """Fewer points: slices for the space axes, which stand before the channels."""
    index: tuple[Any, ...] = (..., *cut, slice(None))
    return field.keep(cut) if isinstance(field, LazyField) else np.ascontiguousarray(field[index])


def read(field: Field, rows: Indices) -> Floats:
    """Some of the cases, in memory."""
    return field[rows] if isinstance(field, LazyField) else field.take(rows, axis=0)


def read_windows(field: Field, rows: Indices, starts: Indices, length: int) -> Floats:
    """For each given case, `length` consecutive times from its start on: (len(rows), length, *space, channels)."""
    if isinstance(field, LazyField):
        return np.stack([field.window(int(s), length)[int(r)] for r, s in zip(rows, starts, strict=True)])
    return np.asarray(field[rows[:, None], starts[:, None] + np.arange(length)])


def chunks(field: Field, limit: int = 2**24) -> Iterator[Floats]:
    """The cases one after the other, in pieces of at most `limit` bytes (at least one case each)."""
    size = max(1, limit * len(field) // max(1, field.nbytes))
    for start in range(0, len(field), size):
        yield field[start : start + size]


def digest(field: Field) -> str:
    """A SHA-256 of the content, or, for a field on the disk, of its files' digest and what is kept of them."""
    state = hashlib.sha256(repr(field.shape).encode())
    if isinstance(field, LazyField):
        kept = [(column.label.rpartition(": ")[2], column.index, column.shape) for column in field.columns]
        state.update(f"{field.origin} {kept!r}".encode())
        state.update(field.rows.astype("<i8").tobytes())
    else:
        for piece in chunks(field):
            state.update(piece.astype(piece.dtype.newbyteorder("<"), copy=False).tobytes())
    return state.hexdigest()
