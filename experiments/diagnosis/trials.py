"""What processes try together: adding up over their devices, and a checkpoint."""

import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from numpy.typing import NDArray

from experiments.diagnosis.report import Device, Reduction, Saving

REDUCED = 2**20  # bytes
SAVED = 2**23
_REPEATS = 10


def devices() -> list[Device]:
    """This process' devices."""
    return [
        Device(kind=device.device_kind, platform=device.platform, memory=_memory(device))
        for device in jax.local_devices()
    ]


def _memory(device: jax.Device) -> int:
    stats = device.memory_stats()
    return int(stats["bytes_limit"]) if stats and "bytes_limit" in stats else 0


def all_reduce(over: Sequence[jax.Device], size: int = REDUCED) -> Reduction | None:
    """Add up an array of `size` bytes of each device; the median time of several. None for a single device.

    Raises:
        RuntimeError: the sum is wrong.
    """
    if len(over) < 2:
        return None
    parts, add = _divided(over, size, _constant), _adding(over)
    found = float(np.asarray(add(parts).addressable_shards[0].data)[0])
    expected = len(over) * (len(over) + 1) / 2
    if found != expected:
        raise RuntimeError(f"all-reduce over {len(over)} devices: got {found:g}, expected {expected:g}")
    seconds = []
    for _ in range(_REPEATS):
        began = time.perf_counter()
        add(parts).block_until_ready()
        seconds.append(time.perf_counter() - began)
    return Reduction(devices=len(over), size=size, seconds=statistics.median(seconds))


def _adding(over: Sequence[jax.Device]) -> Callable[[jax.Array], jax.Array]:
    compiled: Callable[[jax.Array], jax.Array] = jax.jit(lambda x: x.sum(axis=0), out_shardings=_on(over))
    return compiled


def save_and_restore(folder: Path, size: int = SAVED) -> Saving:
    """Write an array that is divided over all devices with Orbax, and read it again.

    Its numbers are random, for Orbax compresses what it writes.

    Raises:
        RuntimeError: what is read is not what was written.
    """
    count = len(jax.devices())
    saved = _divided(jax.devices(), size // count, _random)
    with ocp.StandardCheckpointer() as checkpointer:
        began = time.perf_counter()
        checkpointer.save(folder.absolute(), {"array": saved})
        checkpointer.wait_until_finished()
        written = time.perf_counter()
        like: Any = jax.ShapeDtypeStruct(saved.shape, saved.dtype, sharding=saved.sharding)  # type: ignore[no-untyped-call]
        read = checkpointer.restore(folder.absolute(), {"array": like})["array"]
        read.block_until_ready()
        ended = time.perf_counter()
    for before, after in zip(saved.addressable_shards, read.addressable_shards, strict=True):
        if not np.array_equal(before.data, after.data):
            raise RuntimeError("checkpoint: what was read differs from what was written")
    return Saving(size=saved.nbytes, write_seconds=written - began, read_seconds=ended - written)


def _divided(over: Sequence[jax.Device], size: int, row: Callable[[int, int], NDArray[np.float32]]) -> jax.Array:
    """An array of shape (devices, size / 4) whose row i lies on device i."""
    shape = (len(over), size // 4)

    def rows(index: Any) -> NDArray[np.float32]:
        return np.stack([row(i, shape[1]) for i in range(*index[0].indices(shape[0]))])

    return jax.make_array_from_callback(shape, _on(over, "devices"), rows)


def _constant(i: int, length: int) -> NDArray[np.float32]:
    return np.full(length, i + 1, np.float32)


def _random(i: int, length: int) -> NDArray[np.float32]:
    return np.random.default_rng(i).random(length, np.float32)


def _on(over: Sequence[jax.Device], *axes: str) -> NamedSharding:
    mesh = Mesh(np.asarray(over), ("devices",), axis_types=(AxisType.Auto,))
    return NamedSharding(mesh, PartitionSpec(*axes))  # type: ignore[no-untyped-call]
