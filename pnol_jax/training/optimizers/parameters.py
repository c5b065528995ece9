"""Which parameters: by dotted name, and by what the axes of their arrays are.

An array is what one member holds. Its last two axes are (in, out), or its last three (in, 2, out) where it is complex,
real part then imaginary; axes before them count modes.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Literal

from pnol_jax.optimizer_config import GroupConfig, Mask
from pnol_jax.patterns import fits

Kind = Literal["vector", "matrix", "complex"]
ENDS = ("*.lifting.*", "*.projection.*")  # of an operator: what is between them is hidden
NO_MAPS = ("operator.deviation.*", "operator.factor.*")  # what a variational posterior knows of maps


def kind(array: Any) -> Kind:
    """What an array is made of; a scalar and what is no array count as vectors."""
    shape: Sequence[int] = getattr(array, "shape", ())
    if len(shape) < 2:
        return "vector"
    return "complex" if len(shape) > 3 and shape[-2] == 2 else "matrix"


def masked(mask: Mask, name: str, array: Any) -> bool:
    """Whether a parameter is among those of a mask."""
    if isinstance(mask, list):
        return fits(name, mask)
    if mask == "all":
        return True
    apart = (*ENDS, *NO_MAPS) if mask == "hidden" else ()
    return kind(array) != "vector" and not any(fnmatchcase(name, pattern) for pattern in apart)


def chosen(mask: Mask) -> Callable[[Mapping[str, Any]], dict[str, bool]]:
    """A mask as optax takes it: from parameters to a truth value for each."""
    return lambda params: {name: masked(mask, name, array) for name, array in params.items()}


def factors(groups: Sequence[GroupConfig], names: Iterable[str]) -> dict[str, float]:
    """The factor on the learning rate of each parameter."""
    return {name: next((g.rate for g in groups if fits(name, g.patterns)), 1.0) for name in names}
