"""What a training step moves between devices on meshes of eight, and what that predicts for real ones.

Bytes are those that each device sends, read from programs compiled for eight simulated devices. Against them stands the
usual form of the operator, `jnp.fft` on fields divided along space by XLA's partitioner. Two real processes on this
machine train on a mesh of two, and what they sent is counted by the system.

Predictions for H100 are predictions: a roofline of datasheet figures (`pnol_jax/sharding/roofline.py`), whose
assumptions are printed. Each device has a batch of its own, as large on one device as on 512.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, replace

import jax
from rich.console import Console
from rich.table import Table

from benchmarks.divided_sides import compiled_step
from benchmarks.fft_form import compiled_fft_form
from benchmarks.loopback import measured_and_predicted
from benchmarks.peer_scripts.sizes import SIZES, Size
from benchmarks.report import Figure, argument_parser, report
from experiments.command import run
from pnol_jax.config import MeshConfig
from pnol_jax.sharding.mesh import make_mesh
from pnol_jax.sharding.roofline import KINDS, SHARES, Cost, Prediction, predict
from pnol_jax.sharding.traffic import Collective, collectives_of

DEVICES = 8
MESHES = {
    "data": (MeshConfig(data=8), 0),
    "fsdp": (MeshConfig(data=1, fsdp=8), 0),
    "space": (MeshConfig(data=1, space=8), 0),
    "member": (MeshConfig(data=1, member=8), 8),
    "member, data, space": (MeshConfig(data=2, space=2, member=2), 8),
}
# Fields are divided along space where they are large, so these stand beside the sizes at which speed is measured.
DIVIDED = {
    "2d_64": SIZES["2d_64"],
    "2d_256": Size(points=(256, 256), modes=(32, 32), width=32, batch=8),
    "3d_64": Size(points=(64, 64, 64), modes=(16, 16, 16), width=32, batch=1),
    "3d_64_modes_32": Size(points=(64, 64, 64), modes=(32, 32, 32), width=32, batch=1),
    "3d_64_modes_24": Size(points=(64, 64, 64), modes=(24, 24, 24), width=32, batch=1),  # eight do not divide 24 / 2
}
CASES_PER_DEVICE = 64  # of 64 x 64 points, as for the prediction
GOALS = {"predicted_speedup_8": 7.6, "predicted_efficiency_512": 0.9}


def main() -> int:
    """Compile, count, run two processes, predict."""
    options = argument_parser(__doc__).parse_args()
    jax.config.update("jax_num_cpu_devices", DEVICES)  # type: ignore[no-untyped-call]
    console = Console()
    moved = {name: compiled_step(SIZES["2d_64"], mesh, DEVICES, members)[1] for name, (mesh, members) in MESHES.items()}
    console.print(_table("a training step at 64x64, batch of 16, on eight devices", moved))
    figures = [Figure(f"{name.replace(', ', '_')}_sent", _sent(cost) / 1e6, "MB") for name, cost in moved.items()]
    figures += [figure for name, size in DIVIDED.items() for figure in _against_fft(name, size)]
    measured, predicted = measured_and_predicted()
    ratio, near = measured / predicted, {"at_least": 0.98, "at_most": 1.02}
    figures.append(Figure("loopback_bytes_ratio", ratio, "measured over predicted", 1.0, **near))
    figures += _predictions(console)
    return report(figures, options.json)


def _sent(cost: Cost) -> float:
    return sum(collective.sent for collective in cost.collectives)


def _table(title: str, moved: dict[str, Cost]) -> Table:
    table = Table("mesh", "collective", "along", "number", "MB sent by each device", title=title, title_justify="left")
    for name, cost in moved.items():
        for (kind, axes), group in _grouped(cost.collectives).items():
            sent = sum(collective.sent for collective in group) / 1e6
            table.add_row(name, kind, ", ".join(axes), str(len(group)), f"{sent:.3f}")
    return table


def _grouped(collectives: Iterable[Collective]) -> dict[tuple[str, tuple[str, ...]], list[Collective]]:
    groups: dict[tuple[str, tuple[str, ...]], list[Collective]] = defaultdict(list)
    for collective in collectives:
        groups[collective.kind, collective.axes].append(collective)
    return groups


def _against_fft(name: str, size: Size) -> list[Figure]:
    mesh = make_mesh(MeshConfig(data=1, space=DEVICES))
    ours = _sent(compiled_step(size, MeshConfig(data=1, space=DEVICES), DEVICES)[1])
    text = compiled_fft_form(size, mesh).as_text()
    through_fft = sum(collective.sent for collective in collectives_of(text, mesh))
    main = "space_bytes_ratio" if name == "3d_64" else f"space_bytes_ratio_{name}"
    return [
        Figure(f"space_sent_{name}", ours / 1e6, "MB"),
        Figure(f"space_sent_fft_{name}", through_fft / 1e6, "MB"),
        Figure(main, through_fft / ours, "x", 20.0),
    ]


def _predictions(console: Console) -> list[Figure]:
    """Weak scaling of data parallelism, the batch of a device held fixed."""
    size = replace(SIZES["2d_64"], batch=CASES_PER_DEVICE)
    one = compiled_step(size, MeshConfig(data=1), 1)[1]
    eight = compiled_step(replace(size, batch=size.batch * DEVICES), MeshConfig(data=DEVICES), DEVICES)[1]
    alone = predict(one, KINDS["h100"])
    table = Table("devices", "step ms", "of it communication ms", "speed-up", "efficiency", title="PREDICTED, H100")
    figures = []
    for devices in (2, 4, 8, 64, 512):
        collectives = tuple(replace(collective, parts=devices) for collective in eight.collectives)
        step = predict(replace(one, collectives=collectives), KINDS["h100"])
        efficiency = alone.step / step.step
        cells = (1e3 * step.step, 1e3 * step.communication, devices * efficiency, efficiency)
        table.add_row(str(devices), *(f"{cell:.3g}" for cell in cells))
        for name, value, unit in (("speedup", devices * efficiency, "x"), ("efficiency", efficiency, "share")):
            key = f"predicted_{name}_{devices}"
            if key in GOALS:
                figures.append(Figure(key, value, unit, GOALS[key]))
    console.print(table)
    console.print(_assumptions(alone), highlight=False)
    return figures


def _assumptions(alone: Prediction) -> str:
    kind = KINDS["h100"]
    shares = ", ".join(f"{name} {value:g}" for name, value in asdict(SHARES).items())
    return (
        f"Assumed: {CASES_PER_DEVICE} cases of 64x64 points a device in float32; on one device arithmetic takes "
        f"{1e3 * alone.arithmetic:.3g} ms and memory {1e3 * alone.memory:.3g} ms (bytes as XLA's CPU compiler counts "
        f"them), the longer counts; nothing overlaps. Reached of the datasheet, seconds of latency: {shares}. "
        f"Datasheet: {kind.source}."
    )


if __name__ == "__main__":
    run(main)
