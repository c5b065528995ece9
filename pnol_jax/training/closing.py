"""What is said at the end of training: how long a step took, what it moved and reached, where the time went."""

import resource
import sys
from typing import Any

import jax
from rich.table import Table

from pnol_jax.config import TrainingConfig
from pnol_jax.sharding.divide import current_mesh
from pnol_jax.sharding.roofline import KINDS, DeviceKind, cost_of
from pnol_jax.training.goodput import Goodput
from pnol_jax.training.step import Step


def figures(step: Step, arguments: tuple[Any, ...], seconds: float, settings: TrainingConfig) -> dict[str, float]:
    """What is known of a step by its compiled program and the device: nothing is compiled for it.

    `flops` and `sent_bytes` of one device in one step; `memory_peak_bytes` of one device, of the process where the
    device does not say; `mfu`, the share of the device kind's peak (`pnol_jax.sharding.roofline`), where that is known.

    Args:
        step: the program, which has run on arguments of these shapes and places.
        arguments: those of its next call.
        seconds: how long a step takes.
        settings: of the training.
    """
    compiled = step.lower(*arguments).compile()  # JAX gives the one that has run
    cost = cost_of(compiled, current_mesh(), settings.accumulate)
    sent = float(sum(collective.sent for collective in cost.collectives))
    found = {"flops": cost.flops, "sent_bytes": sent, "memory_peak_bytes": float(memory_peak())}
    kind = known_kind(jax.local_devices()[0].device_kind)
    if kind is not None and seconds > 0:
        found["mfu"] = cost.flops / seconds / kind.peak(settings.precision)
    return found


def known_kind(name: str) -> DeviceKind | None:
    """The device kind that JAX calls so, such as "NVIDIA H100 80GB HBM3", if its peak is known."""
    return next((kind for kind in KINDS.values() if kind.name in name.lower()), None)


def memory_peak() -> int:
    """The most bytes in use so far: on the fullest device here, or of the process where devices do not say."""
    peaks = [(device.memory_stats() or {}).get("peak_bytes_in_use", 0) for device in jax.local_devices()]
    unit = 1 if sys.platform == "darwin" else 1024
    return max(peaks) or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def table(goodput: Goodput, found: dict[str, float]) -> Table:
    """The closing table of a run; `found` are the figures of a step."""
    rows = {"step": f"{1000 * goodput.step_seconds:.1f} ms (median)"} if goodput.step_seconds else {}
    if "mfu" in found:
        rows["MFU"] = f"{100 * found['mfu']:.1f}%"
    if found.get("flops"):
        rows["arithmetic"] = f"{found['flops'] / 1e9:.3g} GFLOP a device and step"
    if found.get("sent_bytes"):
        rows["moved"] = f"{found['sent_bytes'] / 1e6:.3g} MB sent by a device in a step"
    if "memory_peak_bytes" in found:
        rows["memory peak"] = f"{found['memory_peak_bytes'] / 2**30:.2f} GiB"
    spent = {name: goodput.total(kind) for name, kind in SPENT.items()} | {"time away": goodput.away()}
    rows |= {name: f"{seconds:.1f} s" for name, seconds in spent.items() if seconds or name in ALWAYS}
    rows["in all"] = f"{sum(spent.values()):.1f} s"
    steps, seconds = goodput.lost()
    rows["lost work"] = f"{steps} steps, {seconds:.1f} s" if steps else "none"
    number = len(goodput.attempts)
    rows["goodput"] = f"{100 * goodput.share():.1f}% of {number} {'attempt' if number == 1 else 'attempts'}"
    shown = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value in rows.items():
        shown.add_row(name, value)
    return shown


# Each kind of a stopwatch: with the time away they add up to the whole, of which goodput is a share.
SPENT = {
    "start": "start",
    "compilation": "compile",
    "steps": "step",
    "input wait": "input",
    "checkpoint stall": "checkpoint",
    "fit": "fit",
    "other": "other",
}
ALWAYS = ("compilation", "steps", "input wait", "checkpoint stall")
