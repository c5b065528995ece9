"""Numbers in JSON: nested lists of numbers to arrays, and nothing else."""

import re
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from serving.refusals import Refusal

MAX_DEPTH = 6
_ITEMS = {"anyOf": [{"type": "number"}, {"type": "array"}]}
# Nested lists as they came, to be read once their depth is known.
Numbers = Annotated[msgspec.Raw, msgspec.Meta(extra_json_schema={"type": "array", "items": _ITEMS})]
_OPENING = re.compile(rb"[\s\[]*")


def _nested(depth: int) -> Any:
    return float if depth == 0 else list[_nested(depth - 1)]  # type: ignore[misc]


_DECODERS = [msgspec.json.Decoder(_nested(depth)) for depth in range(MAX_DEPTH + 1)]


def read_numbers(raw: msgspec.Raw, where: str) -> NDArray[np.float64]:
    """The array, any shape but (), in a JSON value: lists of equal lengths, all of one depth, numbers at the bottom.

    Raises:
        Refusal: anything else, such as a text, null, a ragged list.
    """
    text = bytes(raw)
    opening = _OPENING.match(text)
    depth = opening[0].count(b"[") if opening else 0
    if not 1 <= depth <= MAX_DEPTH:
        raise Refusal(f"{where}: got {depth} nested lists, expected 1 to {MAX_DEPTH}")
    try:
        return np.asarray(_DECODERS[depth].decode(text), np.float64)
    except msgspec.DecodeError as error:
        raise Refusal(f"{where}: expected nested lists of numbers: {error}") from None
    except (ValueError, OverflowError):
        raise Refusal(f"{where}: got lists of different lengths, expected an array") from None
