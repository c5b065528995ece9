"""Who gets which version: a place in [0, 1) from a key, the same every time, and shares laid along it."""

import hashlib
from collections.abc import Mapping

import numpy as np

from serving.query import Query


def key_of(query: Query) -> bytes:
    """The request's own key, else its inputs: the same field goes to the same version, in whatever format it comes."""
    if query.options.key is not None:
        return query.options.key.encode()
    with np.errstate(over="ignore", invalid="ignore"):
        return hashlib.blake2b(np.ascontiguousarray(query.inputs, np.float32).data, digest_size=16).digest()


def place(key: bytes, model: str, purpose: str) -> float:
    """A number in [0, 1), evenly spread over keys, and independent between models and purposes."""
    purposed = hashlib.sha256(f"{purpose}/{model}".encode()).digest()
    state = hashlib.blake2b(key, digest_size=8, key=purposed)
    return int.from_bytes(state.digest(), "big") / 2**64


def choose(shares: Mapping[str, float], where: float) -> str | None:
    """The label at a place, the shares laid one after the other in the file's order; None beyond them.

    When the shares change, only those keys change their label over which a boundary moves.
    """
    end = 0.0
    for label, share in shares.items():
        end += share
        if where < end:
            return label
    return None
