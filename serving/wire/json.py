"""JSON: `{"inputs": [...], "outputs": ["mean", "interval"], ...}` in, arrays as nested lists out."""

import asyncio
import re
from collections.abc import Iterator
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from serving.answers import Answer
from serving.query import Options, Query
from serving.refusals import Refusal, explained
from serving.wire.numbers import Numbers, read_numbers

MEDIA_TYPE = "application/json"
PIECE = 8192  # numbers that are written at once: some milliseconds


class Body(Options, frozen=True, kw_only=True):
    """The body of `POST /predict`: the options, the inputs, and their grid."""

    inputs: Numbers
    shape: tuple[Annotated[int, msgspec.Meta(ge=2)], ...] | None = None
    coordinates: tuple[Numbers, ...] | None = None
    functionals: Numbers | msgspec.UnsetType = msgspec.UNSET


_NO_NUMBER = re.compile(rb"-?\b(?:NaN|Infinity)\b")
_decoder = msgspec.json.Decoder(Body)
_encoder = msgspec.json.Encoder()


def decode_query(body: bytes) -> Query:
    """The query in a JSON body.

    Raises:
        Refusal: no JSON, unknown or ill-typed fields, arrays that are none.
    """
    try:
        parsed = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refusal(f"body: {explained(error, Body)}{_beyond(body)}") from None
    return to_query(parsed)


def _beyond(body: bytes) -> str:
    """What there is to say of bytes that are no JSON."""
    word = _NO_NUMBER.search(body)
    if word is not None:
        return f": got {word[0].decode()}, expected finite numbers"
    return "" if body.rstrip().endswith(b"}") else f": got {len(body)} bytes, expected an object that ends with }}"


def to_query(body: Body) -> Query:
    """The query in a body.

    Raises:
        Refusal: arrays that are none.
    """
    inputs = read_numbers(body.inputs, "inputs")
    coordinates = None
    if body.coordinates is not None:
        coordinates = tuple(read_numbers(raw, f"coordinates[{i}]") for i, raw in enumerate(body.coordinates))
    functionals = None if body.functionals is msgspec.UNSET else read_numbers(body.functionals, "functionals")
    return Query(body, inputs, body.shape, coordinates, functionals)


def describe(answer: Answer) -> dict[str, Any]:
    """What every format says of an answer beside its arrays."""
    manifest = answer.manifest
    named = {} if answer.id is None else {"id": answer.id}
    return named | {
        "model": manifest.name,
        "version": manifest.version,
        "bucket": answer.bucket,
        "method": manifest.signature.method,
        "cached": answer.cached,
        "approximate": answer.approximate,
        "channels": answer.channels,
        "interval": answer.interval,
        **answer.stated,
    }


async def encode_answer(answer: Answer) -> bytes:
    """The JSON text of an answer; numbers are written so that they read back as the same float32."""
    outputs = {name: await encode_array(array) for name, array in answer.arrays.items()}
    return _encoder.encode({**describe(answer), "outputs": outputs})


async def encode_array(array: NDArray[np.float32]) -> msgspec.Raw:
    """The nested lists of an array of any shape; others have their turns while a large one is written.

    On the event loop and not in a thread, which would hold the interpreter's lock for as long as each call takes.
    """
    if array.size <= PIECE:
        return msgspec.Raw(_encoder.encode(array.tolist()))
    found: list[bytes] = []
    for piece in pieces(array):
        found.append(piece)
        await asyncio.sleep(0)
    return msgspec.Raw(b"".join(found))


def pieces(array: NDArray[np.float32]) -> Iterator[bytes]:
    """The text of an array of any shape but (), in pieces of at most PIECE numbers."""
    rows = PIECE // max(1, array[0].size) if len(array) else 1
    starts = range(0, len(array), rows) if rows else range(len(array))
    yield b"["
    for start in starts:
        if start:
            yield b","
        if rows:
            yield _encoder.encode(array[start : start + rows].tolist())[1:-1]
        else:
            yield from pieces(array[start])
    yield b"]"


def encode_error(message: str, **more: Any) -> bytes:
    """The one shape of every error; an abstention tells more."""
    return _encoder.encode({"error": message, **more})


def encode(value: Any) -> bytes:
    """The JSON text of plain values and structs."""
    return _encoder.encode(value)
