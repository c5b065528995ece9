"""Weights that are random: draws that are the same whatever a mesh divides them by, and sums over what it divides."""

import math
import zlib
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jax import lax

from pnol_jax import collectives
from pnol_jax.sharding.partition import RULES, Axes

Shape = tuple[int, ...]
Arrays = dict[str, jax.Array]
Names = Mapping[str, Axes]


def normal(key: jax.Array, likes: Mapping[str, jax.Array], shapes: Mapping[str, Shape], names: Names) -> Arrays:
    """Standard normal draws for weights of any shape: `shapes` of the whole ones, `likes` this device's parts of them.

    They are drawn as one array: a compiler takes as long for a small draw as for a large one.
    """
    sizes = [math.prod(shape) for shape in shapes.values()]
    drawn = jax.random.normal(key, (sum(sizes),), next(iter(likes.values())).dtype) if sizes else jnp.zeros(0)
    found, start = {}, 0
    for (name, shape), size in zip(shapes.items(), sizes, strict=True):
        own, start = lax.slice_in_dim(drawn, start, start + size).reshape(shape), start + size
        for dimension, axis in enumerate(names[name]):
            if shape[dimension] != likes[name].shape[dimension]:
                own = collectives.mine(own, (_dividing(axis),), dimension)
        found[name] = own
    return found


def total(value: jax.Array, like: jax.Array, whole: Shape, axes: Axes) -> jax.Array:
    """The sum, any shape, over the parts that a mesh divides a parameter into, of which `like` is this device's."""
    divided = tuple(_dividing(axis) for axis, own, size in zip(axes, like.shape, whole, strict=True) if own != size)
    return collectives.total(value, divided)


def of_name(key: jax.Array, name: str) -> jax.Array:
    """A key, (), for what goes by this name."""
    return jax.random.fold_in(key, zlib.crc32(name.encode()))


def _dividing(axis: str | None) -> str:
    assert axis is not None
    return RULES[axis]
