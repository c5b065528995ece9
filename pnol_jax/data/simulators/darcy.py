"""Darcy flow, -div(a grad u) = 1 on the unit square with u = 0 on its edge, by finite volumes.

Cell-centred, two-point fluxes; the permeability of a face is the harmonic mean of its cells', so that the flux across a
jump is right (Eymard, Gallouet, Herbin 2000, section 3). Second order where a is smooth.
"""

from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from pnol_jax.data.simulators.random_fields import random_function
from pnol_jax.errors import InputError
from pnol_jax.grids import Axis, Float64

Positive = Annotated[float, msgspec.Meta(gt=0)]
Odd = Annotated[int, msgspec.Meta(ge=1)]


class Darcy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A permeability of two values, or lognormal, from a function of covariance sigma^2 (-Laplace + tau^2)^-alpha."""

    permeability: Literal["two-valued", "lognormal"] = "two-valued"
    low: Positive = 3.0
    high: Positive = 12.0
    sigma: Positive = 1.0
    tau: Positive = 3.0
    alpha: Positive = 2.0
    modes: Annotated[int, msgspec.Meta(ge=1)] = 32
    refine: Odd = 3  # cells of the solver in a cell of the grid, on a side: odd, so that they share their centre

    ndim = 2
    inputs = ("permeability",)
    outputs = ("pressure",)
    time_step = None

    def axes(self, points: int) -> tuple[Axis, ...]:
        """Cell centres."""
        return (Axis.uniform(points, "bounded", 1.0, "centre"),) * 2

    def case(self, generator: np.random.Generator, points: int) -> dict[str, Float64]:
        """One case: permeability and pressure, (points, points)."""
        if self.refine % 2 == 0:
            raise InputError(f"refine: got {self.refine}, expected an odd number")
        field = random_function(
            generator, self.axes(points * self.refine), self.modes, self.sigma, self.tau, self.alpha
        )
        a = np.where(field >= 0, self.high, self.low) if self.permeability == "two-valued" else np.exp(field)
        u = solve_darcy(a, np.ones_like(a))
        centre = slice(self.refine // 2, None, self.refine)
        return {"permeability": a[centre, centre], "pressure": u[centre, centre]}


def solve_darcy(permeability: NDArray[Any], source: NDArray[Any]) -> Float64:
    """The pressure at cell centres, (n, m), from permeability and source, (n, m), on the unit square.

    Raises:
        InputError: shapes that differ, or a permeability that is not positive.
    """
    a, f = np.asarray(permeability, np.float64), np.asarray(source, np.float64)
    if a.ndim != 2 or a.shape != f.shape:
        raise InputError(f"darcy: got permeability {a.shape} and source {f.shape}, expected two equal (n, m)")
    if not np.all(np.isfinite(a)) or not np.all(a > 0):
        raise InputError("darcy: got a permeability that is not positive everywhere")
    matrix = _matrix(a)
    try:
        from scipy.sparse.linalg import splu
    except ImportError:
        raise InputError("simulating Darcy flow needs scipy: pip install 'pnol-jax[simulate]'") from None
    u: Float64 = splu(matrix, permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True}).solve(f.ravel())
    return u.reshape(a.shape)


def _matrix(a: Float64) -> Any:
    """The system of the fluxes, divided by the cells' area."""
    try:
        from scipy.sparse import coo_array
    except ImportError:
        raise InputError("simulating Darcy flow needs scipy: pip install 'pnol-jax[simulate]'") from None
    number = np.arange(a.size).reshape(a.shape)
    rows, columns, values = [], [], []
    diagonal = np.zeros(a.shape)
    for axis, cells in enumerate(a.shape):
        low, high = (np.take(a, range(start, stop), axis) for start, stop in ((0, cells - 1), (1, cells)))
        here, there = (np.take(number, range(start, stop), axis) for start, stop in ((0, cells - 1), (1, cells)))
        face = 2 * low * high / (low + high) * cells**2
        rows += [here.ravel(), there.ravel()]
        columns += [there.ravel(), here.ravel()]
        values += [-face.ravel()] * 2
        np.add.at(diagonal.reshape(-1), here.ravel(), face.ravel())
        np.add.at(diagonal.reshape(-1), there.ravel(), face.ravel())
        for edge in (0, cells - 1):  # the edge is half a cell away
            at = np.take(number, edge, axis)
            diagonal.reshape(-1)[at] += 2 * a.reshape(-1)[at] * cells**2
    rows, columns, values = [*rows, number.ravel()], [*columns, number.ravel()], [*values, diagonal.ravel()]
    entries = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
    return coo_array(entries, shape=(a.size, a.size)).tocsc()
