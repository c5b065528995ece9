"""What a reader is told about a file: which arrays are inputs and outputs, where the points sit, what is kept."""

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pnol_jax.errors import InputError
from pnol_jax.grids import Axis, Float64, Kind, Placement

DType = Literal["float32", "float64"]
PLACEMENTS: tuple[Placement, ...] = ("left", "both", "neither", "centre")


@dataclass(frozen=True)
class AxisSpec:
    """One space axis. `placement` says where the points sit if the file holds no coordinates."""

    kind: Kind = "periodic"
    length: float = 1.0
    placement: Placement = "left"


@dataclass(frozen=True)
class SourceSpec:
    """How files become cases.

    `inputs` and `outputs` name arrays; each gives one channel, or several if it has a last axis for them. With a
    `time_step` outputs are trajectories. `select` keeps points of each axis, as slices such as "1:". Numbers of any
    type are read as `dtype`; `in_memory` fields that are small, the others when they are wanted.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    axes: tuple[AxisSpec, ...]
    time_step: float | None = None
    select: tuple[str, ...] = ()
    dtype: DType = "float32"
    in_memory: bool = True

    def __post_init__(self) -> None:
        if not self.outputs:
            raise InputError("data.outputs: got no array names, expected at least one")
        if not self.inputs and self.time_step is None:
            raise InputError("data.inputs: got no array names, expected at least one unless data.time_step is set")
        if not 1 <= len(self.axes) <= 3:
            raise InputError(f"data.axes: got {len(self.axes)} axes, expected 1 to 3")
        if self.time_step is not None and not self.time_step > 0:
            raise InputError(f"data.time_step: got {self.time_step}, expected a positive number")
        parse_select(self.select, len(self.axes))


def parse_select(select: tuple[str, ...], ndim: int) -> tuple[slice, ...]:
    """Slices of the space axes from their NumPy notation; everything if there are none.

    Raises:
        InputError: not one a axis, not of the form start:stop:step, or a step below 1.
    """
    if not select:
        return (slice(None),) * ndim
    if len(select) != ndim:
        raise InputError(f"data.select: got {len(select)} slices, expected one for each of {ndim} axes")
    return tuple(_slice(text, f"data.select[{position}]") for position, text in enumerate(select))


def _slice(text: str, where: str) -> slice:
    if not re.fullmatch(r"\s*(-?\d+)?\s*:\s*(-?\d+)?\s*(:\s*\d*)?\s*", text):
        raise InputError(f"{where}: got {text!r}, expected a slice such as '1:', ':-1' or '::2'")
    parts = [int(part) if part.strip() else None for part in text.split(":")]
    if len(parts) == 3 and parts[2] == 0:
        raise InputError(f"{where}: got {text!r}, expected a step of at least 1")
    return slice(*parts)


def make_axis(spec: AxisSpec, n: int, stored: Float64 | None, cut: slice, where: str) -> Axis:
    """The axis of n stored points, of which `cut` keeps some; `stored`, (n,), its coordinates if the file has them.

    Coordinates that do not lie in [0, length] are shifted so that the first one sits where `placement` puts it; those
    that are uniform up to the rounding of float32 become exactly uniform.

    Raises:
        InputError: the coordinates do not fit the length or the kind.
    """
    points = uniform_points(spec, n) if stored is None else _placed(spec, np.asarray(stored, np.float64), n, where)
    kept = tuple(points[cut].tolist())
    try:
        return Axis(spec.kind, spec.length, kept)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def uniform_points(spec: AxisSpec, n: int) -> Float64:
    """Coordinates of n uniform points, (n,), in the unit of the axis' length."""
    return spec.length * Axis.uniform(n, "bounded", 1.0, spec.placement).points


def _placed(spec: AxisSpec, x: Float64, n: int, where: str) -> Float64:
    if x.shape != (n,) or not np.all(np.isfinite(x)):
        raise InputError(f"{where}: got coordinates of shape {x.shape} for {n} points, expected {n} finite numbers")
    slack = 1e-6 * spec.length
    if x[0] < -slack or x[-1] > spec.length + slack:
        x = x - x[0] + uniform_points(spec, n)[0]
    if x[-1] > spec.length + slack:
        raise InputError(
            f"{where}: coordinates span {x[-1] - x[0]:g}, which does not fit into the length {spec.length:g}"
        )
    spacing = (x[-1] - x[0]) / (n - 1)
    if spec.kind == "periodic" and abs(n * spacing - spec.length) > 1.5 * spacing:
        raise InputError(f"{where}: {n} points, {spacing:g} apart, do not fill the period {spec.length:g}")
    return _exact(spec, x, slack)


def _exact(spec: AxisSpec, x: Float64, slack: float) -> Float64:
    for placement in PLACEMENTS:
        uniform = uniform_points(AxisSpec(spec.kind, spec.length, placement), x.size)
        if np.abs(x - uniform).max() <= slack:
            return uniform
    return np.clip(x, 0.0, spec.length)
