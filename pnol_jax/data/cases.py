"""Solved cases of a problem: groups of input and output functions, each group on one grid."""

import functools
import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from pnol_jax.data import fields
from pnol_jax.data.columns import check_finite
from pnol_jax.data.fields import Field, Indices, LazyField
from pnol_jax.data.spec import parse_select
from pnol_jax.errors import InputError
from pnol_jax.grids import Axis, Grid


def _checked(values: Any, what: str, dtype: str) -> Field:
    if isinstance(values, LazyField):
        return values
    array = np.asanyarray(values)
    if array.dtype.kind not in "biuf":
        raise InputError(f"{what}: got numbers of type {array.dtype}, expected real ones")
    if array.dtype != dtype:
        with np.errstate(over="ignore"):
            array = array.astype(dtype)
    check_finite(array, what)
    checked: Field = array
    return checked


@dataclass(frozen=True, eq=False)
class CaseGroup:
    """Cases on one grid, all numbers as `dtype`, float32 or float64 (others are converted; a `LazyField` is so).

    Steady: inputs (cases, *space, channels), outputs (cases, *space, channels). Time-dependent: outputs are
    trajectories, (cases, times, *space, channels), and inputs hold static coefficients, with 0 or more channels.
    Each is a NumPy array, a memory map or a `LazyField`.

    Raises:
        InputError: shapes that do not fit the grid or each other, or a value that is not finite.
    """

    grid: Grid
    inputs: Field
    outputs: Field
    dtype: str = "float32"

    def __post_init__(self) -> None:
        object.__setattr__(self, "inputs", _checked(self.inputs, "inputs", self.dtype))
        object.__setattr__(self, "outputs", _checked(self.outputs, "outputs", self.dtype))
        space, steady = self.grid.shape, self.outputs.ndim == self.grid.ndim + 2
        before = 1 if steady else 2
        if self.outputs.ndim != self.grid.ndim + before + 1 or self.outputs.shape[before:-1] != space:
            raise InputError(
                f"outputs: got shape {self.outputs.shape}, expected (cases, *{space}, channels) or, "
                f"for trajectories, (cases, times, *{space}, channels)"
            )
        expected = (self.outputs.shape[0], *space)
        if self.inputs.shape[:-1] != expected:
            raise InputError(f"inputs: got shape {self.inputs.shape}, expected {(*expected, 'channels')}")
        if not len(self):
            raise InputError("cases: got none, expected at least one")
        if self.times is not None and self.times < 2:
            raise InputError(f"outputs: got trajectories of {self.times} time, expected at least 2")

    def __len__(self) -> int:
        return len(self.outputs)

    @property
    def times(self) -> int | None:
        """How many times a trajectory has; None if the problem is steady."""
        return None if self.outputs.ndim == self.grid.ndim + 2 else int(self.outputs.shape[1])

    def take(self, rows: Indices) -> "CaseGroup":
        """Some of the cases."""
        return replace(self, inputs=fields.take(self.inputs, rows), outputs=fields.take(self.outputs, rows))

    def select(self, cut: tuple[slice, ...]) -> "CaseGroup":
        """The same cases on fewer points, with their coordinates."""
        pairs = zip(self.grid.axes, cut, strict=True)
        axes = tuple(Axis(axis.kind, axis.length, axis.coordinates[part]) for axis, part in pairs)
        return replace(
            self, grid=Grid(axes), inputs=fields.keep(self.inputs, cut), outputs=fields.keep(self.outputs, cut)
        )

    @functools.cached_property
    def digest(self) -> str:
        """A SHA-256 over grid and content (for fields left on the disk: over their files' digests)."""
        parts = (self.grid.digest, fields.digest(self.inputs), fields.digest(self.outputs))
        return hashlib.sha256(" ".join(parts).encode()).hexdigest()


@dataclass(frozen=True, eq=False)
class CaseSet:
    """A data set: one or more groups of cases of the same problem, each on a grid of its own.

    `time_step` is the time between two states of a trajectory, None for a steady problem; `provenance` is plain data
    that says where the cases come from.

    Raises:
        InputError: groups that differ in channels, dimension or kind of problem, or a time step without trajectories.
    """

    groups: tuple[CaseGroup, ...]
    time_step: float | None = None
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.groups:
            raise InputError("cases: got no group, expected at least one")
        kinds = [(g.grid.ndim, g.times is not None, g.inputs.shape[-1], g.outputs.shape[-1]) for g in self.groups]
        names = ("dimensions", "trajectories", "input channels", "output channels")
        for number, kind in enumerate(kinds):
            for name, here, first in zip(names, kind, kinds[0], strict=True):
                if here != first:
                    raise InputError(f"group {number} of the cases: got {name} {here}, expected {first} as in group 0")
        if (self.time_step is None) == self.trajectories:
            raise InputError(f"time_step: got {self.time_step}, with {'' if self.trajectories else 'no '}trajectories")
        if not self.trajectories and not self.input_channels:
            raise InputError("inputs: got 0 channels for a steady problem, expected at least 1")

    def __len__(self) -> int:
        return sum(len(group) for group in self.groups)

    @property
    def trajectories(self) -> bool:
        """Whether outputs are trajectories."""
        return self.groups[0].times is not None

    @property
    def dtype(self) -> str:
        """The type of all numbers, those of grids and statistics made for the cases included."""
        return self.groups[0].dtype

    @property
    def ndim(self) -> int:
        """The number of space axes."""
        return self.groups[0].grid.ndim

    @property
    def output_channels(self) -> int:
        """Channels of a solution; of a state, if time-dependent."""
        return int(self.groups[0].outputs.shape[-1])

    @property
    def input_channels(self) -> int:
        """Channels that a model is given: the coefficients, after the state if time-dependent."""
        static = int(self.groups[0].inputs.shape[-1])
        return static + self.output_channels if self.trajectories else static

    @functools.cached_property
    def digest(self) -> str:
        """A SHA-256 that names the content: grids, values, time step."""
        parts = (repr(self.time_step), *(group.digest for group in self.groups))
        return hashlib.sha256(" ".join(parts).encode()).hexdigest()

    def select(self, select: Sequence[str]) -> "CaseSet":
        """The set on fewer points of each axis, by slices in NumPy notation such as "1:"; coordinates follow."""
        cut = parse_select(tuple(select), self.ndim)
        return replace(self, groups=tuple(group.select(cut) for group in self.groups))

    def take(self, cases: Indices) -> "CaseSet":
        """Some of the cases, by number over all groups, in increasing order; groups that lose all of theirs go."""
        bounds = np.cumsum([0, *(len(group) for group in self.groups)])
        cases = np.sort(cases)
        parts = [cases[(cases >= a) & (cases < b)] - a for a, b in itertools.pairwise(bounds)]
        pairs = zip(self.groups, parts, strict=True)
        return replace(self, groups=tuple(group.take(part) for group, part in pairs if part.size))

    def split(self, count: int, seed: int) -> tuple["CaseSet", "CaseSet"]:
        """Hold out `count` cases drawn without replacement over all groups: (the rest, those held out)."""
        if not 0 < count < len(self):
            raise InputError(f"held-out cases: got {count} of {len(self)}, expected at least 1 and fewer than all")
        order = np.random.default_rng(seed).permutation(len(self))
        return self.take(order[count:]), self.take(order[:count])
