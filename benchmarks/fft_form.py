"""The usual form of an FNO on a divided field: `jnp.fft` over fields that XLA's partitioner keeps divided along space.

Only what decides the traffic is there: lifting, four layers of a spectral convolution and a path around it, projection.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding

from benchmarks.operator_sides import as_complex, kept_index
from benchmarks.peer_scripts.sizes import Size
from pnol_jax.sharding.partition import spec

LAYERS = 4


def compiled_fft_form(size: Size, mesh: Mesh) -> Any:
    """Loss and gradient, compiled for the mesh."""
    divided = NamedSharding(mesh, spec(None, *(None,) * (len(size.points) - 1), "space", None))
    whole = NamedSharding(mesh, spec())
    shapes = jax.eval_shape(lambda: _parameters(size))
    params = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=whole), shapes)
    field = jax.ShapeDtypeStruct((size.batch, *size.points, 1), jnp.float32, sharding=divided)

    def keep(field: jax.Array) -> jax.Array:
        kept: jax.Array = jax.lax.with_sharding_constraint(field, divided)
        return kept

    def loss(params: Any, inputs: jax.Array, outputs: jax.Array) -> jax.Array:
        return jnp.mean(jnp.square(_forward(params, inputs, size, keep) - outputs))

    return jax.jit(jax.value_and_grad(loss)).lower(params, field, field).compile()


def _parameters(size: Size) -> dict[str, jax.Array]:
    kernel = (*size.modes[:-1], size.modes[-1] // 2 + 1, size.width, 2, size.width)
    layers = {f"layer {number}": jnp.zeros(kernel) for number in range(LAYERS)}
    return {"lifting": jnp.zeros((1, size.width)), "projection": jnp.zeros((size.width, 1))} | layers


def _forward(params: Any, inputs: jax.Array, size: Size, keep: Callable[[jax.Array], jax.Array]) -> jax.Array:
    field = keep(inputs @ params["lifting"])
    for number in range(LAYERS):
        spectral = _convolution(field, as_complex(params[f"layer {number}"]), size)
        field = keep(jax.nn.gelu(spectral + field))
    result: jax.Array = field @ params["projection"]
    return result


def _convolution(field: jax.Array, kernel: jax.Array, size: Size) -> jax.Array:
    space = tuple(range(1, field.ndim - 1))
    index = kept_index(size.modes, size.points)
    spectrum = jnp.fft.rfftn(field, axes=space, norm="forward")
    mixed = jnp.einsum("b...i,...io->b...o", spectrum[:, *index], kernel)
    whole = jnp.zeros_like(spectrum).at[:, *index].set(mixed)
    return jnp.fft.irfftn(whole, size.points, axes=space, norm="forward")
