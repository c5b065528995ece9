"""The compiled programs of one servable: every bucket and kind of answer, for a ladder of batch sizes."""

import itertools
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from pnol_jax.servable import Answers, Bucket, Program, Servable

COMPILE_THREADS = 2  # XLA itself uses more for one program


@dataclass(frozen=True, eq=False)
class Ladder:
    """A servable whose programs are compiled, verified and warm: no request ever waits for a compiler."""

    servable: Servable
    sizes: Mapping[Answers, tuple[int, ...]]
    programs: Mapping[tuple[Bucket, Answers, int], Program]

    def size(self, answer: Answers, waiting: int) -> int:
        """The smallest compiled batch that holds `waiting` cases, or the largest there is."""
        sizes = self.sizes[answer]
        return next((size for size in sizes if size >= waiting), sizes[-1])


def compile_ladder(servable: Servable, sizes: Mapping[Answers, tuple[int, ...]]) -> Ladder:
    """Compile every program for every batch size, then replay the test vectors.

    Raises:
        InputError: a replayed answer is not what the model gave.
    """
    wanted = [
        (bucket, answer, size)
        for bucket, answer in itertools.product(servable.manifest.buckets, servable.manifest.signature.answers)
        for size in sizes[answer]
    ]
    with ThreadPoolExecutor(COMPILE_THREADS) as pool:
        programs = dict(zip(wanted, pool.map(lambda key: servable.compile(*key), wanted), strict=True))
    servable.replay(lambda bucket, answer: programs[bucket, answer, 1])
    return Ladder(servable, sizes, programs)
