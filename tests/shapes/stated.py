"""The shapes that a docstring states, in jaxtyping's words."""

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.test_docstrings import ANY, BRACKETS, is_shape

_ENTRY = re.compile(r"^( +)(\w+): (.*(?:\n\1 +.*)*)", re.MULTILINE)  # under `Args:`


# What an argument of a name is wherever a docstring says nothing else of it.
NAMES = {
    "truth": ("batch *space channels",),
    "weights": ("*space", "batch *space"),
    "key": ("",),
    "points": ("n",),
    "errors": ("cases",),
    "uncertainties": ("cases",),
}


@dataclass(frozen=True)
class Stated:
    """Shapes in words of jaxtyping: of arguments by name, and of the answer; empty where nothing is stated."""

    arguments: dict[str, tuple[str, ...]]
    answer: tuple[str, ...]


def stated(function: Callable[..., Any]) -> Stated:
    """What the docstring states."""
    parts = (inspect.getdoc(function) or "").split("\n\n")
    entries = "".join(part for part in parts if part.startswith("Args:"))
    words = "\n\n".join(part for part in parts if not part.startswith(("Args:", "Raises:")))
    known = {name: NAMES.get(name, ()) for name in inspect.signature(function).parameters}
    known |= {name: found for _, name, about in _ENTRY.findall(entries) if (found := shapes(about))}
    surest = sorted((len(each), name) for name, each in known.items() if each)  # binds its names for the others
    return Stated({name: known[name] for _, name in surest}, shapes(words.rpartition("->")[2]))


def shapes(text: str) -> tuple[str, ...]:
    """The shapes in a text, each once; none if it speaks of any shape."""
    if ANY.search(" ".join(text.split())):
        return ()
    found = (inside for inside in BRACKETS.findall(" ".join(text.split())) if is_shape(inside))
    return tuple(dict.fromkeys(word for inside in found for word in in_words(inside)))


def in_words(inside: str) -> list[str]:
    """What stands in brackets, as jaxtyping has it: `[times,] *space` is two shapes, a sum of names any number.

    Of two lists of dimensions only that there is something is left.
    """
    optional = re.search(r"\[([^]]*)\]", inside)
    if optional:
        head, tail = inside[: optional.start()], inside[optional.end() :]
        return in_words(head + optional[1] + tail) + in_words(head + tail)
    words = [_dimension(each.strip()) for each in inside.split(",") if each.strip()]
    several = sum(word.startswith(("*", "...")) for word in words) > 1  # which jaxtyping cannot tell apart
    return ["..."] if several else [" ".join(words)]


def _dimension(text: str) -> str:
    if text == "..." or text.isdecimal():
        return text
    if re.search(r" ([-+*/]|or) ", text):
        return "..." if text.startswith("*") else "_"
    return text[0] + re.sub(r"\W", "_", text[1:])
