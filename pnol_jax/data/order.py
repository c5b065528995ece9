"""In which order pairs are drawn: from the seed alone, the same for any number of processes, enterable anywhere."""

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pnol_jax.data.fields import Indices


@dataclass(frozen=True)
class Order:
    """An endless stream of batches over several buckets of pairs.

    Each bucket's pairs are shuffled anew in every pass over them; batches run on from one pass into the next, so
    none is ever short. Buckets take turns in a random order, as often as they have batches.
    """

    counts: tuple[int, ...]
    batch_size: int
    seed: int

    def batch(self, number: int) -> tuple[int, Indices, NDArray[np.int64]]:
        """A batch of the stream: its bucket, its pairs and their places in the bucket's own stream, (batch_size,)."""
        turn, position = divmod(number, sum(self._turns))
        schedule = self._schedule(turn)
        bucket = int(schedule[position])
        earlier = turn * self._turns[bucket] + int(np.count_nonzero(schedule[:position] == bucket))
        places = earlier * self.batch_size + np.arange(self.batch_size)
        return bucket, self._pairs(bucket, places), places

    @functools.cached_property
    def _turns(self) -> tuple[int, ...]:
        """How often each bucket comes before all start again."""
        return tuple(max(1, round(count / self.batch_size)) for count in self.counts)

    def _pairs(self, bucket: int, places: NDArray[np.int64]) -> Indices:
        passes, rows = np.divmod(places, self.counts[bucket])
        out = np.empty(places.size, np.intp)
        for number in range(int(passes[0]), int(passes[-1]) + 1):
            here = passes == number
            out[here] = _shuffled(self.seed, bucket, number, self.counts[bucket])[rows[here]]
        return out

    def _schedule(self, turn: int) -> Indices:
        ids = np.repeat(np.arange(len(self.counts)), self._turns)
        return ids[_shuffled(self.seed, len(self.counts), turn, ids.size)] if len(self.counts) > 1 else ids


@functools.lru_cache(maxsize=16)
def _shuffled(seed: int, stream: int, number: int, count: int) -> Indices:
    """A permutation of `count` things that depends on its arguments alone."""
    order = np.random.default_rng([seed, stream, number]).permutation(count)
    order.setflags(write=False)
    return order
