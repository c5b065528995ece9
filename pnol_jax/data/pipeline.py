"""The training cases as an endless iterator of batches, prefetched by Grain, with a position that can be saved."""

import hashlib
import sys
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any

import grain
import numpy as np

from pnol_jax.bases import Basis
from pnol_jax.data.batches import Gatherer, HostBatch
from pnol_jax.data.bits import random_bits
from pnol_jax.data.buckets import make_buckets
from pnol_jax.data.cases import CaseSet
from pnol_jax.data.order import Order
from pnol_jax.data.thinning import Thinning
from pnol_jax.errors import InputError

THINNING = 2**31  # the stream of bits beside those of the buckets


class Pipeline(Iterator[HostBatch]):
    """Shuffled, augmented batches without end, each from one bucket.

    The stream of global batches depends on `seed` alone; of several processes each reads its `rows` of every batch.
    Where a mesh divides space into `parts`, batches are padded so that it can. A background thread makes `prefetch`
    batches ahead.

    Raises:
        InputError: a batch of no cases, a window longer than the trajectories, a grid
            that a symmetry does not map onto itself, that no bucket holds, or that thinning leaves too few points of.
    """

    def __init__(
        self,
        cases: CaseSet,
        batch_size: int,
        bases: tuple[Basis, ...],
        buckets: Sequence[Sequence[int]] | None = None,
        *,
        seed: int = 0,
        symmetries: Sequence[str] = (),
        thinning: float = 0.0,
        unroll: int = 1,
        rows: slice | None = None,
        parts: int = 1,
        prefetch: int = 2,
    ) -> None:
        if seed < 0:
            raise InputError(f"training.seed: got {seed}, expected 0 or more")
        if batch_size < 1:
            raise InputError(f"training.batch_size: got {batch_size}, expected at least 1")
        thin = Thinning(thinning, bases) if thinning else None
        self._gather = [
            Gatherer(cases, bucket, unroll, 1, symmetries, thin)
            for bucket in make_buckets(cases, bases, buckets, parts)
        ]
        self._order = Order(tuple(map(len, self._gather)), batch_size, seed)
        self._rows = slice(0, batch_size) if rows is None else rows
        groups = [gather.bucket.groups for gather in self._gather]
        what = (cases.digest, batch_size, groups, seed, symmetries, thinning, unroll)
        self._stream = hashlib.sha256(repr(what).encode()).hexdigest()[:16]
        options = grain.ReadOptions(num_threads=min(1, prefetch), prefetch_buffer_size=prefetch)
        self._batches: Any = iter(grain.MapDataset.range(sys.maxsize).map(self._batch).to_iter_dataset(options))

    def _batch(self, number: int) -> HostBatch:
        bucket, pairs, places = self._order.batch(int(number))
        bits = random_bits(self._order.seed, bucket, places[self._rows])
        of_batch = int(random_bits(self._order.seed, THINNING, np.array([number]))[0])
        return self._gather[bucket](pairs[self._rows], bits, of_batch)

    def __next__(self) -> HostBatch:
        batch: HostBatch = next(self._batches)
        return batch

    def get_state(self) -> dict[str, Any]:
        """The position as plain data: what comes next is the batch of this number of this stream."""
        return {"batch": int(self._batches.get_state()["next_index"]), "stream": self._stream}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go to a saved position.

        Raises:
            InputError: the position is of another stream (other data, seed, batch size, symmetries, ...).
        """
        if state.get("stream") != self._stream:
            raise InputError(
                f"saved position: got stream {state.get('stream')!r}, expected {self._stream!r}: the data, the seed, "
                "the batch size, the buckets, the symmetries, the thinning or the unrolling have changed"
            )
        self._batches.set_state({"next_index": int(state["batch"])})

    def close(self) -> None:
        """Stop the background thread."""
        self._batches.close()

    def __enter__(self) -> "Pipeline":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
