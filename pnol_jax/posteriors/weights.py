"""Weights that are random: draws that are the same whatever a mesh divides them by, and sums over what it divides."""

import zlib

import jax

from pnol_jax import collectives
from pnol_jax.collectives import Names
from pnol_jax.sharding.partition import RULES, Axes

Shape = tuple[int, ...]


def normal(key: jax.Array, name: str, like: jax.Array, whole: Shape, axes: Axes) -> jax.Array:
    """Standard normal draws for a parameter, of which `like` is this device's part; its shape is `whole`."""
    draws = jax.random.normal(of_name(key, name), whole, like.dtype)
    for dimension, axis in enumerate(axes):
        if whole[dimension] != like.shape[dimension]:
            draws = collectives.mine(draws, (_dividing(axis),), dimension)
    return draws


def total(value: jax.Array, like: jax.Array, whole: Shape, axes: Axes) -> jax.Array:
    """The sum over the parts that a mesh divides a parameter into, of which `like` is this device's."""
    divided: Names = tuple(
        _dividing(axis) for axis, own, size in zip(axes, like.shape, whole, strict=True) if own != size
    )
    return collectives.total(value, divided)


def of_name(key: jax.Array, name: str) -> jax.Array:
    """A key for what goes by this name."""
    return jax.random.fold_in(key, zlib.crc32(name.encode()))


def _dividing(axis: str | None) -> str:
    assert axis is not None
    return RULES[axis]
