"""Features of a case by how it would pull at the parameters: gradients of the mean, sketched to a fixed width."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
from jax import lax

from pnol_jax.bases import GridOperands
from pnol_jax.calculus import along, integral

Params = Mapping[str, jax.Array]
Mean = Callable[[dict[str, jax.Array], jax.Array, GridOperands], jax.Array]


@dataclass(frozen=True)
class Sketch:
    """How gradients are made short.

    `probes` random functions, sums of the basis' functions with coefficients of unit size, take a number of each output
    field; the gradient of each number is hashed to `width` entries with random signs (count sketch), which keeps inner
    products in expectation (Weinberger et al. 2009, Feature hashing for large scale multitask learning).
    """

    seed: int = 0
    probes: int = 4
    width: int = 256


def gradient_features(
    mean: Mean, params: Params, names: tuple[str, ...], inputs: jax.Array, grid: GridOperands, sketch: Sketch
) -> jax.Array:
    """Sketched gradients of probed means in some of the parameters, (batch, probes * width); pure and jittable.

    Inner products of two cases' features are, in expectation over signs, those of their gradients: the neural tangent
    kernel of the probed outputs, the same function giving the same feature on every grid. For one device: parameters
    must not be divided.

    Args:
        mean: the model's mean, (params, inputs, grid) -> (batch, *space, channels).
        params: all of its parameters.
        names: of those whose gradient is taken.
        inputs: (batch, *space, channels).
        grid: the operands of the grid.
        sketch: how gradients are made short.
    """
    key = jax.random.key(sketch.seed)
    chosen = {name: params[name] for name in names}

    def of_case(one: jax.Array, here: GridOperands) -> jax.Array:
        def numbers(changed: dict[str, jax.Array]) -> jax.Array:
            field = mean({**params, **changed}, one[None], here)
            return _probed(field, here, key, sketch.probes)

        gradients = jax.jacrev(numbers)(chosen)
        return jnp.sum(jnp.stack([_hashed(gradients[name], name, key, sketch) for name in names]), axis=0)

    each: jax.Array = lax.map(lambda case: of_case(*case), (inputs, _cases(grid, inputs.shape[0])))
    return each.reshape(inputs.shape[0], -1)


def _cases(grid: GridOperands, batch: int) -> GridOperands:
    """Operands with an axis of cases before those of one case, which keep their own axis of one."""

    def lead(leaf: jax.Array) -> jax.Array:
        leaf = jnp.asarray(leaf)
        return leaf[:, None] if grid.batched else jnp.broadcast_to(leaf, (batch, *leaf.shape))

    return replace(grid, axes=tuple(jax.tree.map(lead, axis) for axis in grid.axes))


def _probed(field: jax.Array, grid: GridOperands, key: jax.Array, probes: int) -> jax.Array:
    """Inner products of a field, (1, *space, channels), with random functions, (probes,)."""
    shape = tuple(axis.synthesis.shape[-1] for axis in grid.axes)
    drawn = jax.random.normal(jax.random.fold_in(key, 0), (probes, *shape, field.shape[-1]), field.dtype)
    functions = drawn / math.sqrt(math.prod(shape))
    for position, axis in enumerate(grid.axes):
        synthesis = jnp.asarray(axis.synthesis).reshape(axis.synthesis.shape[-2:])
        functions = along(functions, synthesis.T, position)
    return jax.vmap(lambda function: jnp.sum(integral(field * function, grid)))(functions)


def _hashed(gradient: jax.Array, name: str, key: jax.Array, sketch: Sketch) -> jax.Array:
    """(probes, *parameter) -> (probes, width)."""
    flat = gradient.reshape(gradient.shape[0], -1)
    own = jax.random.fold_in(key, sum(ord(letter) * 31**place for place, letter in enumerate(name)) % 2**31)
    buckets, signs = jax.random.split(own)
    place = jax.random.randint(buckets, flat.shape[1:], 0, sketch.width)
    sign = jax.random.rademacher(signs, flat.shape[1:], flat.dtype)
    return jax.vmap(lambda row: jax.ops.segment_sum(row, place, sketch.width))(flat * sign)
