"""The compiled programs of one servable: every bucket and kind of answer, for a ladder of batch sizes."""

import contextlib
import itertools
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import jax
import numpy as np

from pnol_jax.servable import Answers, Bucket, Program, Servable, added_shapes
from serving.costs import Costs
from serving.monitoring.alarms import Alarms
from serving.monitoring.stages import Stages
from serving.places import Places, stack

COMPILE_THREADS = 2  # XLA itself uses more for one program
RUNS, ENOUGH_SECONDS = 5, 0.2  # of each program to find its cost: so many, or fewer that take so long

Programs = Mapping[tuple[Bucket, Answers, int], Program]


@dataclass(frozen=True, eq=False)
class Ladder:
    """A servable whose programs are compiled, verified and warm: no request ever waits for a compiler.

    `others`: the same on the devices after the first.
    """

    servable: Servable
    places: Places
    programs: Programs
    costs: Mapping[tuple[Bucket, Answers], Costs]
    stages: Stages = field(default_factory=Stages)
    alarms: Alarms = field(default_factory=Alarms)
    others: tuple["Ladder", ...] = ()

    def on(self, device: int) -> "Ladder":
        """That of a device, by its number among those that are served on."""
        return self.others[device - 1] if device else self

    def after(self, before: "Ladder | None") -> "Ladder":
        """These programs in the place of others of the version: counts go on, those of alarms if they are the same."""
        if before is None:
            return self
        alarms = before.alarms if before.servable.digest == self.servable.digest else self.alarms
        pairs = zip(self.others, before.others, strict=True)
        others = tuple(replace(new, stages=old.stages) for new, old in pairs)
        return replace(self, stages=before.stages, alarms=alarms, others=others)


def compile_ladder(
    servable: Servable,
    sizes: Mapping[Answers, tuple[int, ...]],
    pool: Executor | None = None,
    devices: Sequence[jax.Device] = (),
) -> Ladder:
    """Compile every program for every batch size, replay the test vectors, and see what the programs cost.

    Args:
        servable: what is compiled
        sizes: of batches, by the kind of answer
        pool: whose threads compile; if none is given, COMPILE_THREADS of its own
        devices: on each of which it is compiled, verified and timed; the default one if none is given

    Raises:
        InputError: a replayed answer is not what the model gave.
    """
    places = Places(servable)
    if not devices:
        return _compile(servable, places, sizes, pool)
    first, *others = (_compile(servable.on(device), places, sizes, pool) for device in devices)
    return replace(first, others=tuple(others))


def _compile(
    servable: Servable, places: Places, sizes: Mapping[Answers, tuple[int, ...]], pool: Executor | None
) -> Ladder:
    kinds = list(itertools.product(servable.manifest.buckets, servable.manifest.signature.answers))
    wanted = [(bucket, answer, size) for bucket, answer in kinds for size in sizes[answer]]
    with contextlib.nullcontext(pool) if pool else ThreadPoolExecutor(COMPILE_THREADS) as threads:
        programs = dict(zip(wanted, threads.map(lambda key: servable.compile(*key), wanted), strict=True))
    servable.replay(lambda bucket, answer: programs[bucket, answer, 1])
    costs = {
        kind: Costs.of({size: _seconds(places, programs, *kind, size) for size in sizes[kind[1]]}) for kind in kinds
    }
    return Ladder(servable, places, programs, costs, alarms=Alarms.of(servable.manifest.alarm))


def _seconds(places: Places, programs: Programs, bucket: Bucket, answer: Answers, size: int) -> float:
    """The fewest seconds that a batch took, of a few; what its first call alone does is not left to a request."""
    manifest = places.servable.manifest
    operands = stack([places.uniform(bucket)] * size)
    inputs = np.zeros((size, *bucket, len(manifest.signature.inputs)), np.float32)
    shapes = added_shapes(manifest.signature, bucket, answer, size, manifest.num_samples)
    own = [np.ones(shape.shape, shape.dtype) for shape in shapes]
    taken: list[float] = []
    for _ in range(1 + RUNS):
        began = time.perf_counter()
        programs[bucket, answer, size](inputs, operands, *own)
        taken.append(time.perf_counter() - began)
        if sum(taken) > ENOUGH_SECONDS and len(taken) > 1:
            break
    return min(taken)
