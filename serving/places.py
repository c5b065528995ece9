"""Where a model is asked: a grid, the bucket that it fits into, and its operands, made once and kept.

Requests come on few grids, and to make one costs more than everything else that a request is looked at for.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pnol_jax.bases import make_operands
from pnol_jax.grids import Grid
from pnol_jax.servable import Arrays, Bucket, Servable, flatten_operands
from serving.recent import Recent

CAPACITY = 64 * 2**20  # bytes of operands that each servable keeps
ARRAY_BYTES = 4096  # that an array on a device takes beside its numbers, roughly


class Place(NamedTuple):
    """A grid in a bucket. `key` tells it apart from all others of all models; operands are padded, of one case."""

    grid: Grid
    bucket: Bucket
    digest: str
    key: str
    operands: Arrays


def stack(places: Sequence[Place]) -> Arrays:
    """The operands of a batch with one case at each of these places."""
    return {name: np.stack([place.operands[name] for place in places]) for name in places[0].operands}


def nbytes(operands: Arrays) -> int:
    """What they take."""
    return sum(array.nbytes + ARRAY_BYTES for array in operands.values())


class Places:
    """The grids that a servable was asked on last, in so many bytes. Used from the event loop's thread only."""

    def __init__(self, servable: Servable, capacity: int = CAPACITY) -> None:
        self.servable = servable
        self._bases = servable.manifest.signature.bases()
        self._recent = Recent[Place](capacity)

    def uniform(self, shape: tuple[int, ...]) -> Place:
        """The equally spaced points of this shape.

        Raises:
            InputError: they fit into no bucket, or are too few for the modes.
        """
        return self._get(shape, shape, lambda: self.servable.manifest.signature.uniform_grid(shape))

    def of(self, coordinates: Sequence[NDArray[Any]]) -> Place:
        """The grid of these coordinates, (n,) per axis.

        Raises:
            InputError: it is none, fits into no bucket, or has too few points for the modes.
        """
        points = [np.ascontiguousarray(x, np.float64) for x in coordinates]
        shape = tuple(len(x) for x in points)
        key = tuple(x.tobytes() for x in points)
        return self._get(key, shape, lambda: self.servable.manifest.signature.grid(points))

    def _get(self, key: Hashable, shape: tuple[int, ...], make: Callable[[], Grid]) -> Place:
        held = self._recent.get(key)
        if held is None:
            bucket = self.servable.bucket(shape)  # before a grid of that size is made
            held = self._make(make(), bucket)
            self._recent.put(key, held, nbytes(held.operands))
        return held

    def _make(self, grid: Grid, bucket: Bucket) -> Place:
        operands = flatten_operands(make_operands(grid, self._bases, bucket))
        digest = grid.digest
        return Place(grid, bucket, digest, f"{self._bases} {bucket} {digest}", operands)
