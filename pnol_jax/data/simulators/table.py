"""The simulators by name. A new one is a msgspec struct of its parameters with these members, and one line here."""

from typing import Protocol

import numpy as np

from pnol_jax.data.simulators.darcy import Darcy
from pnol_jax.data.simulators.steppers import AdvectionDiffusion, Burgers, KuramotoSivashinsky
from pnol_jax.grids import Axis, Float64


class Simulator(Protocol):
    """A problem with its parameters."""

    @property
    def ndim(self) -> int:
        """The number of space axes."""
        ...

    @property
    def inputs(self) -> tuple[str, ...]:
        """The arrays that a model is given, beside the state."""
        ...

    @property
    def outputs(self) -> tuple[str, ...]:
        """The arrays that it is asked for."""
        ...

    @property
    def time_step(self) -> float | None:
        """The time between two states; None if the problem is steady."""
        ...

    def axes(self, points: int) -> tuple[Axis, ...]:
        """The axes of a grid of so many points a side."""
        ...

    def case(self, generator: np.random.Generator, points: int) -> dict[str, Float64]:
        """The arrays of one case, ([times,] *space): the same functions on every grid for the same draws."""
        ...


SIMULATORS: dict[str, type[Simulator]] = {
    "darcy": Darcy,
    "burgers": Burgers,
    "kuramoto-sivashinsky": KuramotoSivashinsky,
    "advection-diffusion": AdvectionDiffusion,
}
