"""Channels taken from a stored array: which of its points are kept, read in one type and checked to be finite."""

from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pnol_jax.errors import InputError

Floats = NDArray[np.floating[Any]]
FLOAT32 = np.dtype(np.float32)


class Stored(Protocol):
    """What is asked of a stored array: a NumPy array, a memory map, an HDF5 data set."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of entries along each axis."""
        ...

    @property
    def dtype(self) -> Any:
        """The type of the entries."""
        ...

    def __getitem__(self, index: Any, /) -> Any: ...


@dataclass(frozen=True)
class Column:
    """Channels that come from one stored array whose first axis counts the cases.

    `index` is what is kept of each axis after the first (an integer drops the axis); `shape` is one case's shape,
    ([times,] *space, channels), and `dtype` what they are read as. A stored array with one number a case becomes a
    constant function.
    """

    label: str
    stored: Stored
    index: tuple[slice | int, ...]
    shape: tuple[int, ...]
    dtype: np.dtype[Any] = FLOAT32

    def read(self, cases: slice) -> Floats:
        """Some cases, (cases, *shape).

        Raises:
            InputError: a value is not finite.
        """
        raw = np.asarray(self.stored[(cases, *self.index)])
        with np.errstate(over="ignore"):
            values = raw.astype(self.dtype, copy=False)
        check_finite(values, self.label, cases.start)
        if self.stored.shape[1:]:
            return values.reshape(-1, *self.shape)
        constants = values.reshape(-1, *(1,) * len(self.shape))
        return np.broadcast_to(constants, (values.size, *self.shape))

    def window(self, start: int, length: int) -> "Column":
        """The same with `length` of its times, from `start` on."""
        return self._cut({0: slice(start, start + length)})

    def keep(self, cut: tuple[slice, ...]) -> "Column":
        """The same on fewer points: slices for the last axes of a case but the channels."""
        first = len(self.shape) - 1 - len(cut)
        return self._cut({first + axis: part for axis, part in enumerate(cut)})

    def _cut(self, cuts: dict[int, slice]) -> "Column":
        shape = tuple(len(range(n)[cuts.get(axis, slice(None))]) for axis, n in enumerate(self.shape))
        kept = [position for position, part in enumerate(self.index) if isinstance(part, slice)]
        index = list(self.index)
        for axis, part in cuts.items():
            if axis < len(kept):
                index[kept[axis]] = _compose(self.stored.shape[1 + kept[axis]], index[kept[axis]], part)
        return replace(self, index=tuple(index), shape=shape)


def _compose(n: int, first: slice | int, second: slice) -> slice:
    """The slice that does what two slices with positive steps do one after the other."""
    assert isinstance(first, slice)
    points = range(n)[first][second]
    return slice(points.start, points.stop, points.step)


def check_finite(values: NDArray[Any], label: str, first_case: int = 0) -> None:
    """Refuse an array, (cases, ...), that holds a NaN or an infinity; name it and the case."""
    finite = np.isfinite(values)
    if finite.all():
        return
    bad = ~finite.reshape(len(values), -1).all(axis=1)
    case = int(np.argmax(bad))
    raise InputError(
        f"{label}, case {first_case + case}: {int(np.count_nonzero(~finite[case]))} values are not finite "
        f"(NaN, infinite or beyond {values.dtype}); {int(bad.sum())} such cases of {len(values)} read, expected none"
    )
