"""The compiled programs of one servable: every bucket and kind of answer, for a ladder of batch sizes."""

import contextlib
import itertools
from collections.abc import Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from pnol_jax.bases import make_operands, stack_operands
from pnol_jax.servable import Answers, Bucket, Program, Servable, Signature, case_keys, flatten_operands

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


def compile_ladder(
    servable: Servable, sizes: Mapping[Answers, tuple[int, ...]], pool: Executor | None = None
) -> Ladder:
    """Compile every program for every batch size, replay the test vectors, and run each program once.

    Args:
        servable: what is compiled
        sizes: of batches, by the kind of answer
        pool: whose threads compile; if none is given, COMPILE_THREADS of its own

    Raises:
        InputError: a replayed answer is not what the model gave.
    """
    wanted = [
        (bucket, answer, size)
        for bucket, answer in itertools.product(servable.manifest.buckets, servable.manifest.signature.answers)
        for size in sizes[answer]
    ]
    with contextlib.nullcontext(pool) if pool else ThreadPoolExecutor(COMPILE_THREADS) as threads:
        programs = dict(zip(wanted, threads.map(lambda key: servable.compile(*key), wanted), strict=True))
    servable.replay(lambda bucket, answer: programs[bucket, answer, 1])
    for key, program in programs.items():
        _warm(servable.manifest.signature, key, program)
    return Ladder(servable, sizes, programs)


def _warm(signature: Signature, key: tuple[Bucket, Answers, int], program: Program) -> None:
    """Run a program on zeros: what its first call alone does is not left to a request."""
    bucket, answer, batch = key
    operands = make_operands(signature.uniform_grid(bucket), signature.bases(), bucket)
    arguments: list[Any] = [np.zeros((batch, *bucket, len(signature.inputs)), np.float32)]
    arguments.append(flatten_operands(stack_operands([operands] * batch)))
    program(*arguments, *([case_keys(0, batch)] if answer == "samples" else []))
