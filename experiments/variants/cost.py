"""What a variant saves: bytes of weights, memory and time of its compiled programs, beside those of its base."""

import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.comparison.cost import Timing, in_turns
from pnol_jax.bases import make_operands, stack_operands
from pnol_jax.servable import Bucket, Servable, flatten_operands

BATCHES = (1, 16)


@dataclass(frozen=True)
class Beside:
    """The program for mean and variances of one bucket and batch: of the base, then of the variant.

    `milliseconds` were measured in turns; `peak_bytes` are XLA's: arguments, answers and what lies between them.
    """

    bucket: Bucket
    batch: int
    milliseconds: tuple[Timing, Timing]
    peak_bytes: tuple[int, int]


@dataclass(frozen=True)
class Cost:
    """`weights_bytes` of base and variant as they are stored; on which `machine` the `programs` were measured."""

    weights_bytes: tuple[int, int]
    machine: str
    programs: tuple[Beside, ...]


def cost(base: Servable, variant: Servable) -> Cost:
    """Measure both, in the largest bucket that they have in common, one case at a time and many."""
    bucket = max(set(base.manifest.buckets) & set(variant.manifest.buckets), key=np.prod)
    return Cost(
        weights_bytes=(_bytes(base), _bytes(variant)),
        machine=_machine(),
        programs=tuple(_beside(base, variant, bucket, batch) for batch in BATCHES),
    )


def _bytes(servable: Servable) -> int:
    return sum(int(array.nbytes) for array in servable.weights.values())


def _beside(base: Servable, variant: Servable, bucket: Bucket, batch: int) -> Beside:
    calls, peaks = [], []
    for servable in (base, variant):
        compiled = servable.executable(bucket, "moments", batch)
        calls.append(call(compiled, asked(servable, bucket, batch)))
        needs: Any = compiled.memory_analysis()
        peaks.append(needs.argument_size_in_bytes + needs.output_size_in_bytes + needs.temp_size_in_bytes)
    first, second = in_turns(calls)
    return Beside(bucket, batch, (first, second), (peaks[0], peaks[1]))


def asked(servable: Servable, bucket: Bucket, batch: int) -> tuple[Any, ...]:
    """The arguments of a program of moments, on the device: cases that fill the bucket, of ones: any cost as much."""
    signature = servable.manifest.signature
    operands = make_operands(signature.uniform_grid(bucket), signature.bases())
    inputs = np.ones((batch, *bucket, len(signature.inputs)), np.float32)
    arguments = servable.weights, inputs, flatten_operands(stack_operands([operands] * batch))
    on_device: tuple[Any, ...] = jax.device_put(arguments)
    return on_device


def call(compiled: jax.stages.Compiled, arguments: tuple[Any, ...]) -> Callable[[], object]:
    """A call of a compiled program that returns when its answers are there."""
    return lambda: jax.block_until_ready(compiled(*arguments))  # type: ignore[no-untyped-call]


def _machine() -> str:
    """The accelerator, or the processor and how many cores of it there are."""
    device = jax.devices()[0]
    if device.platform != "cpu":
        return str(device.device_kind)
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8", errors="replace").splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {len(os.sched_getaffinity(0))} cores"
