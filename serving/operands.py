"""Operands of batches on the device: grids repeat from request to request, so their matrices are sent once."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import jax

from pnol_jax.bases import make_operands, stack_operands
from pnol_jax.grids import Grid
from pnol_jax.servable import Arrays, Bucket, Signature, flatten_operands


class OperandStore:
    """Keeps the stacked operands of the batches that were asked for last. Used from the engine's thread only."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._held: OrderedDict[tuple[Any, ...], Arrays] = OrderedDict()

    def stacked(self, signature: Signature, grids: Sequence[Grid], bucket: Bucket, batch: int) -> Arrays:
        """The operands of a batch of `batch` cases on these grids; places beyond them repeat the last grid."""
        padded = [*grids, *[grids[-1]] * (batch - len(grids))]
        key = (signature.bases(), bucket, tuple(grid.digest for grid in padded))
        held = self._held.get(key)
        if held is None:
            bases = signature.bases()
            stack = stack_operands([make_operands(grid, bases, bucket) for grid in padded])
            held = self._held[key] = jax.device_put(flatten_operands(stack))
            if len(self._held) > self._capacity:
                self._held.popitem(last=False)
        self._held.move_to_end(key)
        return held
