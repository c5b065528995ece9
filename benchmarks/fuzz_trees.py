"""Trees of JSON and msgpack that are written by hand, so that they can be wrong: keys twice, numbers that are none."""

import json
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

Rng = np.random.Generator


class Pairs(list[tuple[Any, Any]]):
    """An object's members; a key may stand there twice."""


@dataclass(frozen=True)
class Raw:
    """A piece of text that JSON may not know. msgpack writes it as a text."""

    text: str


ODD: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 3, 7, 2**31, -(2**31), 2**53 + 1, 2**63 - 1, 2**64 - 1, -(2**63)),
    *(0.5, -0.5, 1e-320, 1e39, -1e39, 1.7e308, 5e-324),
    *(Raw("NaN"), Raw("-Infinity"), Raw("1e999"), Raw("-1e-999"), Raw("9" * 400), Raw("0." + "1" * 400), Raw("")),
    *("", "a", "mean", "np", "..", "../../etc/passwd", "\0", "ÿ€𝔘\u202e", Raw('"\\ud800"'), "x" * 5000),
    *([], [[]], [None], [1.0], ["a"], Pairs(), Pairs([("a", 1)])),
    *(Raw("[" * 60), Raw("[" * 3000 + "]" * 3000), Raw('{"a":' * 3000 + "1" + "}" * 3000)),
)


def tree(value: Any) -> Any:
    """Dicts as members, arrays as lists."""
    if isinstance(value, dict):
        return Pairs((key, tree(inner)) for key, inner in value.items())
    if isinstance(value, list | tuple):
        return [tree(inner) for inner in value]
    return value


def mutated(value: Any, rng: Rng) -> Any:
    """The tree with one change somewhere: deeper down, or here."""
    if isinstance(value, list) and value and rng.random() < 0.75:
        at = int(rng.integers(len(value)))
        copied = type(value)(value)
        if isinstance(value, Pairs):
            key, inner = value[at]
            copied[at] = (key, mutated(inner, rng)) if rng.random() < 0.9 else (odd_key(key, rng), inner)
        else:
            copied[at] = mutated(value[at], rng)
        return copied
    if isinstance(value, list) and value and rng.random() < 0.6:
        return _rearranged(value, rng)
    return _near(value, rng) if rng.random() < 0.4 else ODD[rng.integers(len(ODD))]


def odd_key(key: Any, rng: Rng) -> Any:
    """Another key in place of one."""
    return [f"{key}s", "", "x" * 300, "id", "seed", "ÿ", key.upper() if isinstance(key, str) else key][rng.integers(7)]


def _rearranged(value: list[Any], rng: Rng) -> Any:
    """Members left out, twice, in another order, or one list deeper."""
    at = int(rng.integers(len(value)))
    match rng.integers(6):
        case 0:
            return type(value)(value[:at] + value[at + 1 :])
        case 1:
            return type(value)([*value, value[at]])
        case 2:
            return type(value)(value[::-1])
        case 3:
            return type(value)(value * int(rng.integers(2, 40)))
        case 4:
            return [value]
    return type(value)(value[:at])


def _near(value: Any, rng: Rng) -> Any:
    """A neighbour of a leaf."""
    match value:
        case bool():
            return int(value)
        case int():
            return value + int(rng.choice([-1, 1, 2, 10, 1000, -value]))
        case float():
            return float(value * rng.choice([-1, 0, 1e30, 1e300])) if rng.random() < 0.7 else str(value)
        case str():
            return value[: rng.integers(len(value) + 1)] + str(rng.choice(["", "é", "1", ",", " ", "\t"]))
        case bytes():
            return value[: rng.integers(len(value) + 1)] * int(rng.integers(1, 3))
    return None


def as_json(value: Any) -> bytes:
    """The text of a tree."""
    return _text(value).encode("utf-8", "surrogatepass")


def _text(value: Any) -> str:
    match value:
        case Pairs():
            return "{" + ",".join(f"{json.dumps(key)}:{_text(inner)}" for key, inner in value) + "}"
        case list():
            return "[" + ",".join(map(_text, value)) + "]"
        case Raw():
            return value.text
        case bytes():
            return json.dumps(value.decode("latin-1"))
    return json.dumps(value)


def as_msgpack(value: Any) -> bytes:
    """The bytes of a tree."""
    match value:
        case Pairs():
            members = b"".join(as_msgpack(key) + as_msgpack(inner) for key, inner in value)
            return b"\xdf" + len(value).to_bytes(4, "big") + members
        case list():
            return b"\xdd" + len(value).to_bytes(4, "big") + b"".join(map(as_msgpack, value))
        case Raw():
            return as_msgpack(value.text)
        case int() if not -(2**63) <= value < 2**64:  # which msgpack cannot say
            return as_msgpack(float(value))
    return msgspec.msgpack.encode(value)
