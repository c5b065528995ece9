"""A batch in parts, one after the other: the gradient of a large batch in the memory of a small one."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from pnol_jax import collectives
from pnol_jax.bases import GridOperands
from pnol_jax.collectives import CASES
from pnol_jax.posteriors import Batch, Params

Gradient = Callable[..., Any]  # of (params, constants, batch, grid, key[, scale])


def accumulated(gradient: Gradient, parts: int) -> Gradient:
    """The mean of what `gradient` gives for `parts` equal parts of a batch.

    Losses are means over the cases, so it is what the whole batch gives, to rounding; only random draws (noise on the
    inputs) are others, since each part has a key of its own. A scale of the loss is handed on.
    """
    if parts == 1:
        return gradient

    def mean(
        params: Params, constants: Params, batch: Batch, grid: GridOperands, key: jax.Array, *scale: jax.Array
    ) -> Any:
        pieces, grids = _split(batch, parts), _split(grid, parts) if grid.batched else None
        keys = jax.random.split(key, parts)
        # Each device adds up its own gradients; what the batch's devices found is added up once, at the end.
        own_params = jax.tree.map(lambda leaf: collectives.varying(leaf, CASES), params)

        def one(piece: Batch, own: GridOperands | None, key: jax.Array) -> Any:
            return gradient(own_params, constants, piece, grid if own is None else own, key, *scale)

        def add(total: Any, part: tuple[Any, ...]) -> tuple[Any, None]:
            return jax.tree.map(jnp.add, total, one(*part)), None

        # The first part starts the sum, so that no zeros need be told how a mesh divides them.
        first, *others = (jax.tree.map(lambda leaf, cut=cut: leaf[cut], (pieces, grids, keys)) for cut in CUTS)
        (value, gradients), _ = lax.scan(add, one(*first), others[0])
        gradients = jax.tree.map(lambda leaf, like: collectives.total_like(leaf, like, CASES), gradients, params)
        return jax.tree.map(lambda leaf: leaf / parts, (value, gradients))

    return mean


CUTS: tuple[Any, Any] = (0, slice(1, None))


def _split(tree: Any, parts: int) -> Any:
    return jax.tree.map(lambda leaf: leaf.reshape(parts, -1, *leaf.shape[1:]), tree)
