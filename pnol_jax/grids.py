"""Where a function was sampled: axes with explicit coordinates, and grids made of one to three of them.

Everything here is NumPy in float64 on the host. What a compiled program needs of a grid is made from it by
`pnol_jax.bases.make_operands` and travels beside the field.
"""

import functools
import hashlib
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pnol_jax.errors import InputError

Kind = Literal["periodic", "bounded"]
Placement = Literal["left", "both", "neither", "centre"]
Float64 = NDArray[np.float64]


def _uniform(n: int, placement: Placement) -> Float64:
    i = np.arange(n)
    match placement:
        case "left":
            return i / n
        case "both":
            return i / (n - 1)
        case "neither":
            return (i + 1) / (n + 1)
        case "centre":
            return (i + 0.5) / n
    raise InputError(f"placement: got {placement!r}, expected 'left', 'both', 'neither' or 'centre'")


@dataclass(frozen=True)
class Axis:
    """One coordinate axis of length `length` and the points on it at which a function is known.

    `kind` is "periodic" or "bounded"; `coordinates` are increasing and lie in [0, length]; on a periodic axis the
    point at `length` is the point at 0 and must not stand twice.
    """

    kind: Kind
    length: float
    coordinates: tuple[float, ...]

    def __post_init__(self) -> None:
        x = np.asarray(self.coordinates, dtype=np.float64)
        if self.kind not in ("periodic", "bounded"):
            raise InputError(f"axis kind: got {self.kind!r}, expected 'periodic' or 'bounded'")
        if not (math.isfinite(self.length) and self.length > 0):
            raise InputError(f"axis length: got {self.length}, expected a positive number")
        if x.size < 2 or not np.all(np.isfinite(x)):
            raise InputError(f"axis coordinates: got {x.size} points, expected at least 2, all of them finite")
        if not np.all(np.diff(x) > 0):
            i = int(np.argmin(np.diff(x) > 0))
            raise InputError(
                f"axis coordinates: got {x[i + 1]:g} after {x[i]:g} (point {i + 1}), expected them increasing"
            )
        slack = 1e-9 * self.length
        if x[0] < -slack or x[-1] > self.length + slack:
            raise InputError(f"axis coordinates: got [{x[0]:g}, {x[-1]:g}], expected them inside [0, {self.length:g}]")
        if self.kind == "periodic" and x[-1] - x[0] > self.length - slack:
            raise InputError(
                f"periodic axis: the first and the last point are a period ({self.length:g}) apart, "
                "so the same point stands twice; leave the last one out"
            )

    @classmethod
    def uniform(cls, n: int, kind: Kind = "periodic", length: float = 1.0, placement: Placement = "left") -> "Axis":
        """An axis of n equally spaced points.

        `placement` says which end points are included: "left" i/n, "both" i/(n-1), "neither" (i+1)/(n+1), or
        "centre" (i+1/2)/n, as fractions of the length.
        """
        if n < 2:
            raise InputError(f"axis: got {n} points, expected at least 2")
        if kind == "periodic" and placement in ("both", "neither"):
            raise InputError(f"periodic axis: placement got {placement!r}, expected 'left' or 'centre'")
        return cls(kind, length, tuple((length * _uniform(n, placement)).tolist()))

    @property
    def n(self) -> int:
        """The number of points."""
        return len(self.coordinates)

    @property
    def points(self) -> Float64:
        """The coordinates, (n,), in the axis' unit of length."""
        return np.asarray(self.coordinates, dtype=np.float64)

    def weights(self) -> Float64:
        """Quadrature weights, (n,): the length of each point's cell (midpoint to midpoint); they sum to `length`.

        On uniform periodic points this is the trapezoidal rule, on bounded ones with both ends likewise, on cell
        centres the midpoint rule.
        """
        x = self.points
        if self.kind == "periodic":
            return (np.roll(x, -1) - np.roll(x, 1)) % self.length / 2 if self.n > 2 else np.full(2, self.length / 2)
        edges = np.concatenate([[0.0], (x[1:] + x[:-1]) / 2, [self.length]])
        return np.diff(edges)


@dataclass(frozen=True)
class Grid:
    """A tensor product of one to three axes."""

    axes: tuple[Axis, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.axes) <= 3:
            raise InputError(f"grid: got {len(self.axes)} axes, expected 1 to 3")

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of points on each axis."""
        return tuple(axis.n for axis in self.axes)

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.axes)

    def weights(self) -> Float64:
        """Quadrature weights, (*space): they sum to the volume."""
        return functools.reduce(np.multiply.outer, [axis.weights() for axis in self.axes])

    @functools.cached_property
    def digest(self) -> str:
        """A SHA-256 that two grids share exactly if they are equal."""
        state = hashlib.sha256()
        for axis in self.axes:
            state.update(f"{axis.kind} {axis.length!r} {axis.n};".encode())
            state.update(axis.points.tobytes())
        return state.hexdigest()
