"""What was said on a CPU about an accelerator, held against the accelerator that is here.

The training step of several sizes is compiled for the CPU, as `experiments.plan` does, which gives the predicted time
of a step and the predicted memory. Then it runs here: its time, and the memory that this device's compiler plans.
Shares of the datasheet that the cost model assumes (`pnol_jax/sharding/roofline.py`) stand beside those reached.

A servable (`--servable`) that was exported on another machine is loaded, its test vectors are replayed and the largest
deviation is told; then it answers cases in batches.

Where the CPU's figures would take long, `--say --said FILE` writes them on another machine.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.child import ROOT
from benchmarks.divided_sides import compiled_step, training_step
from benchmarks.peer_scripts.sizes import SIZES, Size
from benchmarks.report import Figure, argument_parser, report
from pnol_jax.bases import make_operands, stack_operands
from pnol_jax.config import MeshConfig
from pnol_jax.files import write_atomically
from pnol_jax.servable import crop, load_servable, pad
from pnol_jax.servable.program import flatten_operands
from pnol_jax.sharding.roofline import SHARES, Cost, DeviceKind, predict
from pnol_jax.training.closing import known_kind

LARGE = {
    "2d_64": replace(SIZES["2d_64"], batch=64),  # what `benchmarks.sharding` predicts for
    "2d_256": Size(points=(256, 256), modes=(32, 32), width=64, batch=16),
    "3d_64": Size(points=(64, 64, 64), modes=(16, 16, 16), width=32, batch=8),
}
SIDES: dict[str, dict[str, Any]] = {
    "float32": {},
    "bfloat16": {"precision": "bfloat16"},
    "full": {"remat": "full"},
    "bfloat16, full": {"precision": "bfloat16", "remat": "full"},
}
BATCHES = (1, 64)


@dataclass(frozen=True)
class Said:
    """Of one device in one step: operations, bytes to and from memory, bytes allocated beside the arguments."""

    flops: float
    moved: float
    temporary: float


def main() -> int:
    """Predict, measure, compare."""
    parser = argument_parser(__doc__, rounds=7, burst=0.5)
    parser.add_argument("--said", type=Path, default=Path("runs/said.json"), help="what the CPU's compiler says")
    parser.add_argument("--servable", type=Path, metavar="FOLDER", help="one that was exported elsewhere")
    parser.add_argument("--sizes", nargs="+", choices=LARGE, default=list(LARGE))
    parser.add_argument("--say", action="store_true", help="only write FILE")
    options = parser.parse_args()
    if options.say:
        _write(options.said, options.sizes)
        return 0
    device = jax.devices()[0]
    Console().print(f"on {device.device_kind}, JAX {jax.__version__}", highlight=False)
    if device.platform == "cpu":
        Console().print("no accelerator: nothing to measure")
        return 0
    said, kind = _read(options.said, options.sizes), known_kind(device.device_kind)
    figures: list[Figure] = []
    for size in options.sizes:
        figures += _of_size(size, said, kind, options)
    if options.servable:
        figures += list(_served(options.servable))
    return report(figures, options.json)


def _write(file: Path, sizes: Sequence[str]) -> None:
    """What XLA's CPU compiler says of each size and side."""
    rows = {}
    for size in sizes:
        for side, training in SIDES.items():
            compiled, cost = compiled_step(LARGE[size], MeshConfig(data=1), 1, **training)
            temporary = compiled.memory_analysis().temp_size_in_bytes
            rows[f"{size}, {side}"] = {"flops": cost.flops, "moved": cost.bytes, "temporary": temporary}
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, json.dumps(rows, indent=2) + "\n")


def _read(file: Path, sizes: Sequence[str]) -> dict[str, Said]:
    """The same from a process that sees no accelerator, where it was not written before."""
    if not file.exists():
        command = [sys.executable, "-m", "benchmarks.accelerator", "--say", "--said", file, "--sizes", *sizes]
        subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, "JAX_PLATFORMS": "cpu"})
    return {name: Said(**row) for name, row in json.loads(file.read_text()).items()}


def _of_size(size: str, said: dict[str, Said], kind: DeviceKind | None, options: Any) -> list[Figure]:
    """Time and memory of the sides of one size, and the shares of the datasheet that were reached."""
    table = Table("", "ms", "PREDICTED ms", "over", "MB planned here", "by the CPU's compiler", title=size)
    figures, needs = [], {}
    for side, training in SIDES.items():
        step, compiled = training_step(LARGE[size], **training)
        seconds = _seconds(step, options.rounds, options.burst)
        needed, cpu = compiled.memory_analysis().temp_size_in_bytes, said[f"{size}, {side}"]
        needs[side] = needed
        name = f"{size}_{side.replace(', ', '_')}"
        cells = [f"{1e3 * seconds:.2f}", "-", "-"]
        if kind:
            asked = training.get("precision", "float32")
            ahead = predict(Cost(cpu.flops, cpu.moved, ()), kind, asked)
            cells[1:] = [f"{1e3 * ahead.step:.2f}", f"{seconds / ahead.step:.2f}"]
            figures.append(Figure(f"{name}_step_over_predicted", seconds / ahead.step, "ratio", 1.0))
            reached = cpu.moved / seconds / kind.memory_bandwidth, cpu.flops / seconds / kind.peak(asked)
            figures.append(Figure(f"{name}_memory_share", reached[0], "of the datasheet", SHARES.memory))
            figures.append(Figure(f"{name}_arithmetic_share", reached[1], "of the datasheet", SHARES.arithmetic))
        figures.append(Figure(f"{name}_step", 1e3 * seconds, "ms", 0.0))
        figures.append(Figure(f"{name}_memory_over_cpu", needed / cpu.temporary, "ratio", 1.0))
        figures.append(Figure(f"{name}_memory_saved", 1 - needed / needs["float32"], "share of float32's", 0.0))
        table.add_row(side, *cells, f"{needed / 1e6:.0f}", f"{cpu.temporary / 1e6:.0f}")
    Console(width=110).print(table)
    return figures


def _seconds(step: Any, rounds: int, burst: float) -> float:
    """The median over rounds of the mean time of a step."""
    for _ in range(3):
        step()
    began = time.perf_counter()
    step()
    steps = max(1, round(burst / (time.perf_counter() - began)))
    found = []
    for _ in range(rounds):
        began = time.perf_counter()
        for _ in range(steps):
            step()
        found.append((time.perf_counter() - began) / steps)
    return float(np.median(found))


def _served(folder: Path) -> Iterator[Figure]:
    """A servable from another machine: how far its answers are from those it was written with, and their time."""
    servable = load_servable(folder)
    servable.replay()
    vector = servable.vectors[0]
    bucket = servable.bucket(vector.grid.shape)
    operands = make_operands(vector.grid, servable.manifest.signature.bases(), bucket)
    for batch in BATCHES:
        program = servable.compile(bucket, "moments", batch)
        inputs = np.repeat(pad(vector.inputs, bucket)[None], batch, axis=0)
        given = inputs, flatten_operands(stack_operands([operands] * batch))
        answer = program(*given)
        if batch == 1:
            for name in ("mean", "aleatoric"):
                expected = vector.expected[name]
                got = crop(answer[name][0], vector.grid.shape)
                off = np.max(np.abs(got - expected)) / np.max(np.abs(expected))
                yield Figure(
                    f"servable_{name}_deviation", float(off), "of the largest value", servable.manifest.tolerance
                )
        seconds = _seconds(lambda program=program, given=given: program(*given), 7, 0.3)
        yield Figure(f"servable_batch_{batch}", 1e3 * seconds, "ms", 0.0)


if __name__ == "__main__":
    sys.exit(main())
