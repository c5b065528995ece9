"""The parameters that are uncertain: chosen by name, and taken together as one vector."""

import difflib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import jax
import jax.numpy as jnp

from pnol_jax import collectives
from pnol_jax.errors import InputError
from pnol_jax.posteriors.protocol import OPERATOR, Params
from pnol_jax.sharding.partition import RULES, Axes

Shapes = Mapping[str, tuple[int, ...]]
SPECTRAL = "*.spectral.*"
SHOWN = 4  # names that a message gives


@dataclass(frozen=True)
class Subset:
    """Parameters of an operator in the order of their names, each flattened, one after the other.

    A mesh divides the parameters and not the vector, which every device has whole.
    """

    shapes: Shapes
    names: Mapping[str, Axes]
    last_layer: bool  # whether all of them belong to it: their tangents then meet no other layer

    @property
    def size(self) -> int:
        """The number of entries of the vector."""
        return sum(math.prod(shape) for shape in self.shapes.values())

    def spans(self) -> Iterator[tuple[str, slice]]:
        """Where each parameter stands in the vector."""
        start = 0
        for name, shape in self.shapes.items():
            stop = start + math.prod(shape)
            yield name, slice(start, stop)
            start = stop

    def of(self, params: Params) -> Params:
        """These parameters alone."""
        return {name: params[name] for name in self.shapes}

    def split(self, vectors: jax.Array, params: Params) -> Params:
        """Vectors (*lead, size) as arrays (*lead, *shape) by name, each device's part, in the parameters' precision."""
        parts = {}
        for name, span in self.spans():
            whole = vectors[..., span].reshape(*vectors.shape[:-1], *self.shapes[name])
            for dimension, axis in self._divided(name, params[name]):
                whole = collectives.mine(whole, (axis,), dimension)
            parts[name] = whole.astype(params[name].dtype)
        return parts

    def join(self, arrays: Params) -> jax.Array:
        """The inverse of `split`: arrays (*lead, *shape) by name to vectors (*lead, size) of the whole."""
        flat = []
        for name in self.shapes:
            value = arrays[name]
            for dimension, axis in self._divided(name, value):
                value = collectives.assembled(value, (axis,), dimension)
            flat.append(value.reshape(*value.shape[: value.ndim - len(self.shapes[name])], -1))
        return jnp.concatenate(flat, axis=-1)

    def _divided(self, name: str, part: jax.Array) -> Iterator[tuple[int, str]]:
        """The dimensions of a parameter that a mesh divides, counted from the end, each with its mesh axis."""
        shape = self.shapes[name]
        for dimension in range(-len(shape), 0):
            axis = self.names[name][dimension] if name in self.names else None
            if axis and part.shape[dimension] < shape[dimension]:
                yield dimension, RULES[axis]


def choose(asked: str, shapes: Shapes, names: Mapping[str, Axes], last_layer: Sequence[str]) -> Subset:
    """The parameters that `asked` names: "last_layer", "spectral", "all", or a pattern such as "*.blocks.3.*".

    Args:
        asked: as the config gives it.
        shapes: of all parameters of the operator, by full name.
        names: of their dimensions.
        last_layer: the names of those in which the output is linear, as the operator says.

    Raises:
        InputError: it fits no parameter.
    """
    last = {OPERATOR + name for name in last_layer}
    patterns = {"last_layer": None, "spectral": SPECTRAL, "all": "*"}
    pattern = patterns.get(asked, asked)
    chosen = [name for name in sorted(shapes) if (name in last if pattern is None else fnmatchcase(name, pattern))]
    if not chosen:
        near = difflib.get_close_matches(asked, list(shapes), n=SHOWN, cutoff=0.0)
        raise InputError(
            f"posterior.parameters: {asked!r} fits no parameter of this operator; expected 'last_layer', 'spectral', "
            f"'all' or a pattern of names such as {', '.join(near)}"
        )
    return Subset({name: tuple(shapes[name]) for name in chosen}, names, set(chosen) <= last)
