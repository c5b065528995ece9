"""Bodies of safetensors that are right, and those that are nearly so."""

from collections.abc import Sequence
from typing import Any

import msgspec

from benchmarks.fuzz_sent import Field, Sent, said
from benchmarks.fuzz_trees import Rng, as_json, mutated, tree

LENGTHS = (0, 1, 7, 2**16, 2**31, 2**63, 2**64 - 1)


def _header(model: str, inputs: Field, shape: Sequence[int]) -> Any:
    options = msgspec.json.encode({"model": model, "outputs": ["mean"], "seed": 3}).decode()
    tensor = {"dtype": "F32", "shape": list(shape), "data_offsets": [0, inputs.nbytes]}
    return tree({"__metadata__": {"options": options}, "inputs": tensor})


def _sent(header: Any, data: bytes, length: int | None = None) -> Sent:
    text = as_json(header)
    text += b" " * (-len(text) % 8)
    said_length = len(text) if length is None else length
    content = said_length.to_bytes(8, "little") + text + data
    return Sent("safetensors", "/predict", {"content-type": "application/x-safetensors"}, content)


def right_safetensors(model: str, inputs: Field) -> Sent:
    """The request for a field."""
    return _sent(_header(model, inputs, inputs.shape), inputs.tobytes())


def wrong_safetensors(model: str, inputs: Field, rng: Rng) -> Sent:
    """Another header, number of bytes or length of the header."""
    few, shape = said(inputs, rng)
    header, data, length = _header(model, few, shape), few.tobytes(), None
    match rng.integers(5):
        case 0:
            data = (data * 2)[: rng.integers(2 * len(data) + 1)]
        case 1:
            length = LENGTHS[rng.integers(len(LENGTHS))]
        case 2 | 3:
            header = mutated(header, rng)
    return _sent(header, data, length)
