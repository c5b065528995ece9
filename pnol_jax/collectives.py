"""Sums, means and gathers over the devices that share one program; on a single device each changes nothing.

A program that is divided over a mesh (`pnol_jax.sharding`) runs on every device with that device's part of its arrays.
Code that acts within its own part needs to know nothing of this. Where something is added up over what a mesh axis
divides, it says so with a function from here:

- CASES: the batch is divided by case, over two mesh axes;
- SPACE: every field is divided along its last space axis, and with it that axis' operands;
- MODEL: hidden channels are divided;
- MEMBER: the members of an ensemble are divided.

Each function asks JAX which mesh axes the program at hand is divided over (`jax.sharding.get_abstract_mesh`), so that
the same line serves one device and a thousand, and its derivative is right by JAX's own rules.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

Names = tuple[str, ...]
FSDP = "fsdp"
CASES: Names = ("data", FSDP)
SPACE: Names = ("space",)
MODEL: Names = ("model",)
MEMBER: Names = ("member",)
EVERY: Names = (*MEMBER, *CASES, *SPACE, *MODEL)


def _present(axes: Names) -> Names:
    """Those of the axes over which the program at hand is divided."""
    divided = jax.sharding.get_abstract_mesh().manual_axes
    return tuple(axis for axis in axes if axis in divided)


def varying(value: jax.Array, axes: Names) -> jax.Array:
    """The same value, any shape, marked as one that may differ along the axes: its derivative is added up over them."""
    missing = tuple(axis for axis in _present(axes) if axis not in jax.typeof(value).mat.varying)
    cast: jax.Array = lax.pcast(value, missing, to="varying") if missing else value
    return cast


def varying_like(value: jax.Array, like: jax.Array) -> jax.Array:
    """The same value, marked as one that may differ wherever `like` may; each of any shape."""
    return varying(value, tuple(axis for axis in _present(EVERY) if axis in jax.typeof(like).mat.varying))


def count(axes: Names) -> int:
    """How many parts the axes divide into."""
    shape = jax.sharding.get_abstract_mesh().shape
    parts = 1
    for axis in _present(axes):
        parts *= shape[axis]
    return parts


def index(axes: Names) -> jax.Array | int:
    """Which of the parts this is, ()."""
    present = _present(axes)
    return lax.axis_index(present) if present else 0


def total(value: jax.Array, axes: Names) -> jax.Array:
    """The sum over the parts, any shape."""
    present = _present(axes)
    if not present:
        return value
    summed: jax.Array = lax.psum(varying(value, present), present)  # type: ignore[no-untyped-call]
    return summed


def total_like(value: jax.Array, like: jax.Array, axes: Names) -> jax.Array:
    """The sum over those parts that all have `like` the same; each of any shape."""
    same = tuple(axis for axis in _present(axes) if axis not in jax.typeof(like).mat.varying)
    return total(value, same)


def mean(value: jax.Array, axes: Names) -> jax.Array:
    """The mean over the parts, any shape."""
    present = _present(axes)
    if not present:
        return value
    summed: jax.Array = lax.pmean(varying(value, present), present)  # type: ignore[no-untyped-call]
    return summed


def largest(value: jax.Array, axes: Names) -> jax.Array:
    """The largest over the parts, entry by entry, any shape."""
    present = _present(axes)
    if not present:
        return value
    summed: jax.Array = lax.pmax(varying(value, present), present)  # type: ignore[no-untyped-call]
    return summed


def scattered(value: jax.Array, axes: Names, dimension: int) -> jax.Array:
    """The sum over the parts, any shape, of which each keeps its own stretch of one dimension."""
    present = _present(axes)
    if not present:
        return value
    dimension %= value.ndim
    part: jax.Array = lax.psum_scatter(  # type: ignore[no-untyped-call]
        varying(value, present), present, scatter_dimension=dimension, tiled=True
    )
    return part


def gathered(value: jax.Array, axes: Names, dimension: int) -> jax.Array:
    """The parts, any shape, put together along one dimension."""
    present = _present(axes)
    if not present:
        return value
    whole: jax.Array = lax.all_gather(varying(value, present), present, axis=dimension % value.ndim, tiled=True)
    return whole


def assembled(value: jax.Array, axes: Names, dimension: int) -> jax.Array:
    """As `gathered`, of any shape, where the result is known to be the same on every part."""
    present = _present(axes)
    if not present:
        return value
    whole: jax.Array = lax.all_gather(
        varying(value, present), present, axis=dimension % value.ndim, tiled=True, to="invarying"
    )
    return whole


def exchanged(value: jax.Array, axes: Names, split: int, join: int) -> jax.Array:
    """One dimension, of which each part has a stretch, put together, and another divided instead; any shape."""
    present = _present(axes)
    if not present:
        return value
    turned: jax.Array = lax.all_to_all(  # type: ignore[no-untyped-call]
        varying(value, present), present, split, join, tiled=True
    )
    return turned


def normal(key: jax.Array, shape: tuple[int, ...], dtype: Any, *, by_case: bool = True) -> jax.Array:
    """Standard normal draws for a field, (batch, *space, channels): the same at a point wherever it is computed.

    Each case has draws of its own, or all have the same.
    """

    def at(case: jax.Array, point: jax.Array) -> jax.Array:
        here = jax.random.fold_in(jax.random.fold_in(key, case), point)
        return jax.random.normal(here, (*shape[1:-2], shape[-1]), dtype)

    cases = index(CASES) * shape[0] + jnp.arange(shape[0]) if by_case else jnp.zeros(shape[0], int)
    points = index(SPACE) * shape[-2] + jnp.arange(shape[-2])
    draws: jax.Array = jax.vmap(jax.vmap(at, (None, 0), -2), (0, None))(cases, points)
    return draws


def mine(value: jax.Array, axes: Names, dimension: int) -> jax.Array:
    """This part's own stretch of a dimension of what every part has whole, any shape."""
    size = value.shape[dimension] // count(axes)
    return (
        lax.dynamic_slice_in_dim(value, jnp.asarray(index(axes)) * size, size, dimension) if _present(axes) else value
    )
