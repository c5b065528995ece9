"""Which mesh axis divides which dimension of a parameter: one table, read by the operators' own axis names.

An operator names the dimensions of its parameters: "in", the channels that a layer adds up over, "width", the hidden
channels that a device keeps for itself, "out", those that a layer makes for others, and "pairs" or "modes", what a
spectral layer has of wave numbers. The table says what becomes of them. Modes are divided as the field is, where that
comes out even. "out" costs nothing in the arithmetic: a parameter is put together before its layer acts (`stored`
dimensions), and its gradient is added up and divided again, so it divides what is stored and not what is done.
"""

from collections.abc import Mapping
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from pnol_jax.collectives import FSDP
from pnol_jax.errors import InputError

Axes = tuple[str | None, ...]
RULES: Mapping[str, str] = {
    "member": "member",
    "in": "model",
    "width": "model",
    "out": FSDP,
    "pairs": "space",
    "modes": "space",
}
# What is divided only where that comes out even, and is whole otherwise: in stretches of so many entries.
OPTIONAL: Mapping[str, int] = {"pairs": 2, "modes": 1}


def partition(name: str, shape: tuple[int, ...], axes: Axes, sizes: Mapping[str, int]) -> PartitionSpec:
    """The mesh axes that divide a parameter, by dimension.

    Args:
        name: of the parameter, for the message.
        shape: its global shape.
        axes: its dimensions' logical names.
        sizes: devices along each mesh axis; an axis that is left out has one.

    Raises:
        InputError: two dimensions want the same mesh axis, or one is not divisible by it.
    """
    chosen = [_chosen(axis, size, sizes) for axis, size in zip(axes, shape, strict=True)]
    used = [axis for axis in chosen if axis]
    twice = next((axis for axis in used if used.count(axis) > 1), None)
    if twice:
        raise InputError(
            f"{name}: dimensions {_named(axes)} are both divided by the mesh axis {twice!r}; expected at most one: "
            "give one of them another name in the operator"
        )
    for position, (size, axis) in enumerate(zip(shape, chosen, strict=True)):
        if axis and size % sizes.get(axis, 1):
            raise InputError(
                f"{name}: dimension {position} ({axes[position]!r}) has {size} entries, which mesh.{axis} = "
                f"{sizes[axis]} does not divide; expected mesh.{axis} to be one of {_divisors(size)}"
            )
    return spec(*chosen)


def _chosen(axis: str | None, size: int, sizes: Mapping[str, int]) -> str | None:
    if axis is None:
        return None
    rule = RULES.get(axis)
    if axis in OPTIONAL and rule and size % (OPTIONAL[axis] * sizes.get(rule, 1)):
        return None
    return rule


def spec(*axes: str | tuple[str, ...] | None) -> PartitionSpec:
    """The mesh axes that divide an array, by dimension."""
    return PartitionSpec(*axes)  # type: ignore[no-untyped-call]


def on(mesh: Mesh, division: PartitionSpec) -> PartitionSpec:
    """The spec with only the axes that the mesh has; one that is left out has one device."""
    return spec(*(_kept(mesh, entry) for entry in division))


def _kept(mesh: Mesh, entry: str | tuple[str, ...] | None) -> str | tuple[str, ...] | None:
    if isinstance(entry, tuple):
        return tuple(axis for axis in entry if axis in mesh.shape) or None
    return entry if entry in mesh.shape else None


def shardings(mesh: Mesh, specs: Any) -> Any:
    """Where arrays lie, for a tree of specs."""
    return jax.tree.map(lambda division: NamedSharding(mesh, on(mesh, division)), specs)


def stored(axes: Axes) -> int | None:
    """The dimension that is divided in storage only, if there is one."""
    return axes.index("out") if "out" in axes else None


def _named(axes: Axes) -> str:
    return " and ".join(repr(axis) for axis in axes if axis)


def _divisors(size: int) -> list[int]:
    return [number for number in range(1, size + 1) if size % number == 0]
