"""Applying a problem's symmetries to a batch, an element drawn for each case."""

from collections.abc import Sequence

import numpy as np

from pnol_jax.data.bits import Bits, again
from pnol_jax.data.columns import Floats
from pnol_jax.data.fields import Indices
from pnol_jax.data.symmetries import SYMMETRIES, Elements
from pnol_jax.errors import InputError
from pnol_jax.grids import Grid


class Augmentation:
    """The symmetries of a problem on one grid.

    Raises:
        InputError: a name that is not known, or a grid that a symmetry does not map onto itself.
    """

    def __init__(self, names: Sequence[str], grid: Grid) -> None:
        for position, name in enumerate(names):
            if name not in SYMMETRIES:
                raise InputError(f"data.symmetries[{position}]: got {name!r}, expected one of {list(SYMMETRIES)}")
        self._draws = [SYMMETRIES[name](grid, f"data.symmetries[{i}]") for i, name in enumerate(names)]

    def __call__(self, inputs: Floats, outputs: Floats, bits: Bits) -> tuple[Floats, Floats]:
        """Inputs and outputs, (cases, ..., *space, channels), each case moved by the element that its bits draw."""
        if not self._draws:
            return inputs, outputs
        elements = self._product(bits)
        return _moved(inputs, elements), _moved(outputs, elements)

    def _product(self, bits: Bits) -> Elements:
        """The elements drawn from every symmetry, one after the other."""
        sources: Indices | None = None
        signs: Floats | None = None
        for number, draw in enumerate(self._draws):
            next_sources, next_signs = draw(again(bits, number))
            if next_sources is not None:
                sources = next_sources if sources is None else np.take_along_axis(sources, next_sources, axis=1)
            if next_signs is not None:
                signs = next_signs if signs is None else signs * next_signs
        return Elements(sources, signs)


def _moved(field: Floats, elements: Elements) -> Floats:
    sources, signs = elements
    if field.size == 0:
        return field
    if sources is not None:
        cases, points = sources.shape
        copies = field.size // (cases * points * field.shape[-1])
        starts = points * np.arange(cases * copies).reshape(cases, copies, 1)
        rows = (sources[:, None, :] + starts).ravel()
        field = field.reshape(-1, field.shape[-1]).take(rows, axis=0).reshape(field.shape)
    return field if signs is None else field * signs.reshape(-1, *(1,) * (field.ndim - 1))
