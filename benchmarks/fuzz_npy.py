"""npy bodies that are right, and those that are nearly so."""

import io
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.fuzz_sent import Field, Sent, said
from benchmarks.fuzz_trees import Rng


def npy(model: str, arrays: Sequence[Any], **query: str) -> Sent:
    """Arrays one after the other."""
    file = io.BytesIO()
    for array in arrays:
        np.save(file, array, allow_pickle=False)
    asked = "&".join(f"{name}={value}" for name, value in {"model": model, "outputs": "mean", **query}.items())
    return Sent("npy", "/predict", {"content-type": "application/x-npy"}, file.getvalue(), asked)


DTYPES = ("<f2", "<f4", "<f8", ">f4", "<i4", "<c8", "|O", "<U3", "<M8[s]", "|V4", "f4,f4", "\u00ff", "<f" + "9" * 99)
SHAPES = ("()", "(0,)", "(-1, 5)", "(5)", "(5,)", f"({2**62}, 4)", "(" + "1, " * 60 + ")", "(1.5,)", "[5]", "(,)")


def _with_shape(body: bytes, array: Field, shape: str) -> bytes:
    """An npy array whose header says another shape, and is as long as it is."""
    head = body[10 : 10 + int.from_bytes(body[8:10], "little")].rstrip()
    said = head.replace(str(array.shape).encode(), shape.encode())
    return body[:8] + len(said).to_bytes(2, "little") + said + array.tobytes()


def wrong_npy(model: str, inputs: Field, rng: Rng) -> Sent:
    """Parameters, arrays or headers that are odd."""
    whole = npy(model, [inputs])
    match rng.integers(7):
        case 0:
            name = rng.choice(["level", "seed", "num_samples", "timeout", "outputs", "priority", "version", "x"])
            value = rng.choice(["0", "-1", "nan", "inf", "1e999", "9" * 30, "a%00b", "%ff", "mean,samples", "", "high"])
            return replace(whole, query=f"{whole.query}&{name}={value}")
        case 1:
            return npy(model, [inputs] * int(rng.integers(2, 6)))
        case 2:
            return npy(model, [inputs, *(np.linspace(-1, 2, n) for n in inputs.shape[:2])])
        case 3:
            odd = rng.choice([0.0, np.nan, np.inf, 3e38, 1e-45])
            return npy(model, [np.full(rng.integers(0, 12, rng.integers(0, 5)), odd, np.float32)])
        case 4:
            few, shape = said(inputs, rng)
            whole = npy(model, [few])
            return replace(whole, body=_with_shape(whole.body, few, "(" + "".join(f"{n}, " for n in shape) + ")"))
        case 5:
            return replace(whole, body=_with_shape(whole.body, inputs, str(rng.choice(SHAPES))))
    return replace(whole, body=whole.body.replace(b"<f4", str(rng.choice(DTYPES)).encode("latin-1")))
