"""The weights' file (safetensors), and weights in fewer bits: bfloat16, or int8 with a scale for each output channel.

An array of int8 has its scales beside it, named `scale.NAME`, of the same rank and of one entry along the dimensions
that share one: what it stands for is their product, (*shape).
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save

from pnol_jax.errors import InputError

SCALE = "scale."
LARGEST = 127  # of int8 in use: -128 would make it asymmetric
_TYPES = {
    **{f"F{bits}": np.dtype(f"float{bits}") for bits in (16, 32, 64)},
    **{f"I{bits}": np.dtype(f"int{bits}") for bits in (8, 16, 32, 64)},
    **{f"U{bits}": np.dtype(f"uint{bits}") for bits in (8, 16, 32, 64)},
    "BF16": jnp.dtype(jnp.bfloat16),
    "BOOL": np.dtype(bool),
}

Arrays = dict[str, Any]


def encode_weights(weights: Mapping[str, Any]) -> bytes:
    """The bytes of a weights' file."""
    return save({name: np.ascontiguousarray(value) for name, value in weights.items()})


def decode_weights(data: bytes, where: str) -> Arrays:
    """The weights in the bytes of a file; of bfloat16 too, which safetensors writes and does not read as NumPy's.

    Raises:
        InputError: no safetensors, or an array of a type that no weights have.
    """
    try:
        entries = deserialize(data)  # type: ignore[no-untyped-call]
    except SafetensorError as error:
        raise InputError(f"{where}: {error}") from None
    strange = [f"{name} of {entry['dtype']}" for name, entry in entries if entry["dtype"] not in _TYPES]
    if strange:
        raise InputError(f"{where}: got {', '.join(strange)}, expected one of {sorted(_TYPES)}")
    return {name: np.frombuffer(e["data"], _TYPES[e["dtype"]]).reshape(e["shape"]) for name, e in entries}


def quantise(values: Any, shared: tuple[int, ...]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Int8, any shape, and scales, one for all entries along the `shared` dimensions: symmetric, rounded to nearest.

    The largest entry of those that share a scale becomes 127, so nothing is off by more than half of a scale; where all
    are zero the scale is one.
    """
    array = np.asarray(values, np.float32)
    largest = np.max(np.abs(array), axis=shared, keepdims=True)
    scale = np.where(largest > 0, largest / np.float32(LARGEST), np.float32(1))
    return np.rint(array / scale).astype(np.int8), scale


def restore(weights: Mapping[str, Any]) -> dict[str, jax.Array]:
    """The weights in float32, any shape, that the stored ones stand for; pure, for use inside a program.

    Those in other types than int8 with a scale, and bfloat16, stay as they are.
    """
    return {name: _restored(name, value, weights) for name, value in weights.items() if not name.startswith(SCALE)}


def _restored(name: str, value: Any, weights: Mapping[str, Any]) -> Any:
    if (scale := weights.get(SCALE + name)) is not None:
        return jnp.asarray(value, jnp.float32) * scale
    return jnp.asarray(value, jnp.float32) if value.dtype == jnp.bfloat16 else value
