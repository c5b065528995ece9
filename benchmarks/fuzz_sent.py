"""What is sent to a service that is fuzzed, and changes that know nothing of its format."""

import gzip
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from benchmarks.fuzz_trees import Rng

Field = NDArray[np.float32]
BOMB = gzip.compress(bytes(2**26))
SIZES = (1, 2, 2**31, 2**62, 2**64 - 1)


@dataclass(frozen=True)
class Sent:
    """A request; of gRPC the body is the message."""

    kind: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    query: str = ""


def said(inputs: Field, rng: Rng) -> tuple[Field, list[int]]:
    """Inputs and their shape; now and then hardly a number, in a shape that has as many and is none all the same."""
    match rng.integers(20):
        case 0:
            shape = [SIZES[at] for at in rng.integers(0, len(SIZES), rng.integers(1, 5))]
            shape.insert(int(rng.integers(len(shape) + 1)), 0)
            return np.zeros(0, np.float32), shape
        case 1:
            return np.zeros(1, np.float32), [1] * int(rng.integers(70))
    return inputs, [1, *inputs.shape]


def damaged(body: bytes, rng: Rng) -> bytes:
    """The body with some bytes changed, left out, put in or cut off."""
    changed = bytearray(body)
    for _ in range(int(rng.integers(1, 4))):
        at, length = (int(n) for n in rng.integers(0, [len(changed) + 1, 9]))
        match rng.integers(5):
            case 0:
                changed[at : at + 1] = rng.bytes(1)
            case 1:
                del changed[at : at + length]
            case 2:
                changed[at:at] = rng.bytes(length)
            case 3:
                changed[at : at + 4] = [b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff"][rng.integers(3)]
            case 4:
                del changed[at:]
    return bytes(changed)


def encoded(sent: Sent, rng: Rng) -> Sent:
    """The body compressed, rightly or wrongly."""
    name = ["gzip", "x-gzip", "deflate"][rng.integers(3)]
    body = zlib.compress(sent.body, 1) if name == "deflate" else gzip.compress(sent.body, 1)
    match rng.integers(6):
        case 0:
            body = damaged(body, rng)
        case 1:
            name = str(rng.choice(["gzip, deflate", "br", "deflate", "gzip", "identity", "x" * 300]))
        case 2:
            body = BOMB
    return replace(sent, headers={**sent.headers, "content-encoding": name}, body=body)
