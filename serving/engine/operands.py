"""Operands of batches on the device: grids repeat from request to request, so their matrices are sent once."""

from collections import OrderedDict
from collections.abc import Sequence

import jax

from pnol_jax.servable import Arrays
from serving.places import Place, stack


class OperandStore:
    """Keeps the stacked operands of the batches that were asked for last. Used from the engine's thread only."""

    def __init__(self, capacity: int, device: jax.Device | None = None) -> None:
        self._device = device
        self._capacity = capacity
        self._held: OrderedDict[tuple[str, ...], Arrays] = OrderedDict()

    def stacked(self, places: Sequence[Place], batch: int) -> Arrays:
        """The operands of a batch of `batch` cases at these places; those beyond them repeat the last."""
        padded = [*places, *[places[-1]] * (batch - len(places))]
        key = tuple(place.key for place in padded)
        held = self._held.get(key)
        if held is None:
            held = self._held[key] = jax.device_put(stack(padded), self._device)
            if len(self._held) > self._capacity:
                self._held.popitem(last=False)
        self._held.move_to_end(key)
        return held
