"""Operands of batches on the device: grids repeat from request to request, so their matrices are sent once."""

from collections.abc import Sequence

import jax

from pnol_jax.servable import Arrays
from serving.places import Place, nbytes, stack
from serving.recent import Recent


class OperandStore:
    """The stacked operands of the batches that were asked for last, in so many bytes of the device.

    Used by whoever has the device.
    """

    def __init__(self, capacity: int, device: jax.Device | None = None) -> None:
        self._device = device
        self._recent = Recent[Arrays](capacity)

    def stacked(self, places: Sequence[Place], batch: int) -> Arrays:
        """The operands of a batch of `batch` cases at these places; those beyond them repeat the last."""
        padded = [*places, *[places[-1]] * (batch - len(places))]
        key = tuple(place.key for place in padded)
        held = self._recent.get(key)
        if held is None:
            held = jax.device_put(stack(padded), self._device)
            self._recent.put(key, held, nbytes(held))
        return held
