"""Which cores of the machine each replica computes on."""

import contextlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

PROC = Path("/proc")


def choose(available: Sequence[int], each: int, taken: Iterable[Sequence[int]]) -> tuple[int, ...]:
    """The cores that the fewest others have; all, in any number, where `each` is 0 or more than there are."""
    if not 0 < each < len(available):
        return tuple(available)
    load = Counter(core for cores in taken for core in cores)
    return tuple(sorted(sorted(available, key=lambda core: (load[core], core))[:each]))


def spread(
    available: Sequence[int], each: int, held: Sequence[tuple[str, Sequence[int]]]
) -> dict[str, tuple[int, ...]]:
    """Who should move where, so that no core has two replicas more than another; `held` in the order of precedence.

    Replicas keep what they have as long as that is among the least used.
    """
    moves: dict[str, tuple[int, ...]] = {}
    placed: list[Sequence[int]] = []
    for name, cores in held:
        best = choose(available, each, placed)
        load = Counter(core for others in placed for core in others)
        if len(cores) != len(best) or sum(load[core] for core in cores) > sum(load[core] for core in best):
            moves[name] = cores = best
        placed.append(cores)
    return moves


@contextlib.contextmanager
def pinned(cores: Sequence[int]) -> Iterator[None]:
    """What this thread starts meanwhile keeps to these cores, from its first instruction on."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def move(pid: int, cores: Sequence[int]) -> None:
    """Have all threads of a process keep to these cores.

    A thread that has ended meanwhile needs nothing, and one whose cores were taken from this machine since keeps to
    those that the system gave it.
    """
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for thread in os.listdir(PROC / str(pid) / "task"):
            with contextlib.suppress(OSError):
                os.sched_setaffinity(int(thread), cores)
