"""What was said on a CPU about an accelerator, held against the accelerator that is here.

The training step of several sizes is compiled for the CPU, as `experiments.plan` does, which gives the predicted time
of a step and the predicted memory. Then it runs here: its time, and the memory that this device's compiler plans.
Shares of the datasheet that the cost model assumes (`pnol_jax/sharding/roofline.py`) stand beside those reached.

A servable (`--servable`) that was exported on another machine answers its own test questions; told are the largest
deviation from the answers that it was written with, and how long answers take.

Where the CPU's figures would take long, `--say FILE` writes them on another machine, and `--said FILE` reads them.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.child import ROOT
from benchmarks.divided_sides import compiled_step, training_step
from benchmarks.measure import LocalSide, Timings, alternate
from benchmarks.peer_scripts.sizes import SIZES, Size
from benchmarks.report import Figure, argument_parser, report
from experiments.command import run
from pnol_jax.bases import make_operands, stack_operands
from pnol_jax.config import MeshConfig
from pnol_jax.errors import InputError
from pnol_jax.files import write_atomically
from pnol_jax.servable import Servable, crop, load_servable, pad
from pnol_jax.servable.program import flatten_operands
from pnol_jax.servable.vectors import Vector, deviation
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
    parser.add_argument("--sizes", nargs="+", choices=LARGE, default=list(LARGE))
    parser.add_argument("--servable", type=Path, metavar="FOLDER", help="one that was exported elsewhere")
    parser.add_argument("--said", type=Path, metavar="FILE", help="what the CPU's compiler says (made anew)")
    parser.add_argument("--say", type=Path, metavar="FILE", help="only write what it says")
    options = parser.parse_args()
    if options.say:
        write_atomically(options.say, json.dumps(said_here(options.sizes), indent=2) + "\n")
        return 0
    device = jax.devices()[0]
    Console().print(f"on {device.device_kind}, JAX {jax.__version__}", highlight=False)
    if device.platform == "cpu":
        Console().print("no accelerator: nothing to measure")
        return 0
    said, kind = _said(options.said, options.sizes), known_kind(device.device_kind)
    figures: list[Figure] = []
    timings: dict[str, Timings] = {}
    for size in options.sizes:
        timings[size], found = _of_size(size, said, kind, options.rounds, options.burst)
        figures += found
    if options.servable:
        timings["servable"], found = _served(load_servable(options.servable), options.rounds, options.burst)
        figures += found
    return report(figures, options.json, timings)


def said_here(sizes: Sequence[str]) -> dict[str, dict[str, float]]:
    """What this device's compiler says of each size and side."""
    rows = {}
    for size, (side, training) in ((size, side) for size in sizes for side in SIDES.items()):
        compiled, cost = compiled_step(LARGE[size], MeshConfig(data=1), 1, **training)
        temporary = compiled.memory_analysis().temp_size_in_bytes
        rows[f"{size}, {side}"] = asdict(Said(cost.flops, cost.bytes, temporary))
    return rows


def _said(file: Path | None, sizes: Sequence[str]) -> dict[str, Said]:
    """The same of the CPU's: from a file, or from a process that sees no accelerator.

    Raises:
        InputError: the file has not all sizes.
    """
    with tempfile.TemporaryDirectory() as folder:
        if file is None:
            file = Path(folder, "said.json")
            command = [sys.executable, "-m", "benchmarks.accelerator", "--say", file, "--sizes", *sizes]
            subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, "JAX_PLATFORMS": "cpu"})
        rows = {name: Said(**row) for name, row in json.loads(file.read_text()).items()}
    missing = [size for size in sizes if f"{size}, float32" not in rows]
    if missing:
        raise InputError(f"{file}: got nothing on {', '.join(missing)}, expected what --say writes for these sizes")
    return rows


def _of_size(
    size: str, said: Mapping[str, Said], kind: DeviceKind | None, rounds: int, burst: float
) -> tuple[Timings, list[Figure]]:
    """Time and memory of the sides of one size, and the shares of the datasheet that were reached."""
    made = {side: training_step(LARGE[size], **training) for side, training in SIDES.items()}
    measured = alternate([LocalSide(side, step) for side, (step, _) in made.items()], rounds, burst)
    needs = {side: compiled.memory_analysis().temp_size_in_bytes for side, (_, compiled) in made.items()}
    table = Table("", "ms", "PREDICTED ms", "MB planned here", "by the CPU's compiler", title=size)
    figures = []
    for side, training in SIDES.items():
        name, cpu, seconds = f"{size}_{side.replace(', ', '_')}", said[f"{size}, {side}"], measured.median(side)
        ahead = predict(Cost(cpu.flops, cpu.moved, ()), kind, training.get("precision", "float32")) if kind else None
        if kind and ahead:
            peak = kind.peak(training.get("precision", "float32"))
            memory, arithmetic = cpu.moved / seconds / kind.memory_bandwidth, cpu.flops / seconds / peak
            figures.append(Figure(f"{name}_step_over_predicted", seconds / ahead.step, "ratio", 1.0, less=True))
            figures.append(Figure(f"{name}_memory_share", memory, "of the datasheet", SHARES.memory))
            figures.append(Figure(f"{name}_arithmetic_share", arithmetic, "of the datasheet", SHARES.arithmetic))
        figures.append(Figure(f"{name}_memory_over_cpu", needs[side] / cpu.temporary, "ratio"))
        if side != "float32":
            saved = 1 - needs[side] / needs["float32"]
            figures.append(Figure(f"{name}_memory_saved", saved, "share of float32's"))
            figures.append(Figure.of_ratio(f"{name}_price", measured.ratio(side, "float32")))
        predicted = f"{1e3 * ahead.step:.2f}" if ahead else "-"
        megabytes = (f"{1e-6 * needs[side]:.0f}", f"{1e-6 * cpu.temporary:.0f}")
        table.add_row(side, f"{1e3 * seconds:.2f}", predicted, *megabytes)
    Console().print(table)
    return measured, figures


def _served(servable: Servable, rounds: int, burst: float) -> tuple[Timings, list[Figure]]:
    """A servable from another machine: how far its moments are from those that it was written with, and their time."""
    off = [found for vector in servable.vectors for found in _deviations(servable, vector)]
    tolerance = servable.manifest.tolerance
    figure = Figure("servable_deviation", max(off), "of the largest value", tolerance, at_most=tolerance)
    sides = [LocalSide(f"{batch} cases", _asked(servable, servable.vectors[0], batch)) for batch in BATCHES]
    return alternate(sides, rounds, burst), [figure]


def _deviations(servable: Servable, vector: Vector) -> Iterator[float]:
    """Of everything that comes with the moments."""
    scales = {figure.name: figure.scale for figure in servable.manifest.signature.figures}
    for name, got in _asked(servable, vector, 1)().items():
        yield deviation(crop(got[0], vector.grid.shape), vector.expected[name], scales.get(name))


def _asked(servable: Servable, vector: Vector, batch: int) -> Any:
    """A question of so many equal cases that can be repeated."""
    bucket = servable.bucket(vector.grid.shape)
    program = servable.compile(bucket, "moments", batch)
    operands = make_operands(vector.grid, servable.manifest.signature.bases(), bucket)
    inputs = np.repeat(pad(vector.inputs, bucket)[None], batch, axis=0)
    given = inputs, flatten_operands(stack_operands([operands] * batch))
    return lambda: program(*given)


if __name__ == "__main__":
    run(main)
