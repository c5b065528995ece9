"""What a decomposition belongs to: parameters, training cases and options, by their digest."""

import hashlib
from collections.abc import Callable, Iterable

import jax
import numpy as np

from pnol_jax.posteriors.protocol import FitBatch, Params


def digest(params: Params, data: Callable[..., Iterable[FitBatch]], about: str) -> str:
    """The SHA-256 of parameters, of a pass over the data, and of a text, in hexadecimal."""
    hashed = hashlib.sha256(about.encode())

    def add(value: object) -> None:
        array = np.ascontiguousarray(value)
        hashed.update(f"{array.dtype}{array.shape}".encode())
        hashed.update(array.data)

    for name in sorted(params):
        hashed.update(name.encode())
        add(params[name])
    for one in data():
        for leaf in jax.tree.leaves(one):
            add(leaf)
    return hashed.hexdigest()
