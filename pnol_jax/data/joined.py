"""Arrays in several files, read as one: opened as memory maps when cases of theirs are wanted, a few at a time."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pnol_jax.errors import InputError

OPEN_FILES = 64


@dataclass(frozen=True)
class Part:
    """A `.npy` file of cases, (rows, *case), known by its digest."""

    path: str
    digest: str
    dtype: str
    offset: int
    shape: tuple[int, ...]


def part(path: Path, digest: str) -> Part:
    """What is needed to map a file.

    Raises:
        InputError: it is not a readable `.npy` file.
    """
    try:
        array: np.memmap[Any, Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: not a readable .npy file: {error}") from None
    return Part(str(path), digest, array.dtype.str, array.offset, array.shape)


class Joined:
    """Files one after the other along their first axis, as one stored array. Nothing of them is held but their names.

    Raises:
        InputError: files that differ in anything but their number of cases, by name.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = tuple(parts)
        first = self.parts[0]
        for other in self.parts:
            if (other.dtype, other.shape[1:]) != (first.dtype, first.shape[1:]):
                raise InputError(
                    f"{other.path}: got cases of {other.dtype} {other.shape[1:]}, "
                    f"expected {first.dtype} {first.shape[1:]} as in {first.path}"
                )
        self._ends = np.cumsum([other.shape[0] for other in self.parts])
        self.dtype = np.dtype(first.dtype)
        self.shape = (int(self._ends[-1]), *first.shape[1:])

    def __getitem__(self, index: tuple[Any, ...]) -> NDArray[Any]:
        """Read cases: a slice without a step, then what is kept of each of the further axes."""
        start, stop, _ = index[0].indices(self.shape[0])
        first, last = np.searchsorted(self._ends, [start, max(start, stop - 1)], side="right")
        pieces = []
        for number in range(first, last + 1):
            before = int(self._ends[number]) - self.parts[number].shape[0]
            here = slice(max(0, start - before), max(0, stop - before))
            pieces.append(_mapped(self.parts[number])[(here, *index[1:])])
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


@functools.lru_cache(OPEN_FILES)
def _mapped(part: Part) -> "np.memmap[Any, Any]":
    return np.memmap(part.path, part.dtype, "r", part.offset, part.shape)
