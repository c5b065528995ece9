"""The cores, devices and memory of this machine, dealt out to workers."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from experiments.jobs.settings import PoolConfig
from pnol_jax.errors import InputError

T = TypeVar("T")


def deal_cores(settings: PoolConfig) -> list[list[int]]:
    """Each worker's cores, of those that this process may use; none where the system does not pin.

    Raises:
        InputError: there are fewer than asked for.
    """
    if not hasattr(os, "sched_getaffinity"):
        return []
    return _deal(sorted(os.sched_getaffinity(0)), settings.workers, settings.threads, "cores", "threads")


def deal_devices(settings: PoolConfig) -> list[list[str]]:
    """Each worker's GPUs, of those that this process may use.

    Raises:
        InputError: there are fewer than asked for.
    """
    return _deal(_devices(), settings.workers, settings.devices, "GPUs", "devices") if settings.devices else []


def _devices() -> list[str]:
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name for name in named.split(",") if name]
    return [str(number) for number in range(len(list(Path("/dev").glob("nvidia[0-9]*"))))]


def _deal(things: Sequence[T], workers: int, each: int, what: str, key: str) -> list[list[T]]:
    if workers * each > len(things):
        raise InputError(
            f"jobs.workers (--workers): got {workers} with {each} {what} each (--{key}), expected at most the "
            f"{len(things)} {what} of this machine in all"
        )
    return [list(things[worker * each : (worker + 1) * each]) for worker in range(workers)]


def share_of_memory(settings: PoolConfig, machine: int) -> int:
    """Each worker's memory in bytes, of a machine that has so many.

    Raises:
        InputError: there is less than asked for, or what was asked for is no size.
    """
    if settings.memory is None:
        return machine // settings.workers
    wanted = parse_size(settings.memory)
    if settings.workers * wanted > machine:
        raise InputError(
            f"jobs.memory (--memory): got {settings.memory} for each of {settings.workers} workers, expected at most "
            f"the {machine / 2**30:.1f} GiB of this machine in all"
        )
    return wanted


def parse_size(text: str) -> int:
    """Bytes from a size such as "4GiB" or "500 MB".

    Raises:
        InputError: it is no size.
    """
    from dask.utils import parse_bytes

    try:
        size = int(parse_bytes(text))
    except ValueError:
        size = 0
    if size < 1:
        raise InputError(f"jobs.memory (--memory): got {text!r}, expected a size such as 4GiB")
    return size
