"""What is to be made of a model, from the words of the command line."""

from collections.abc import Sequence
from dataclasses import dataclass

from pnol_jax.errors import InputError

MEMBERS = "members="
EXPECTED = "expected 'bfloat16', 'int8' or 'members=K' with K of at least 2, each at most once"


@dataclass(frozen=True)
class Recipe:
    """So many `members` of an ensemble, or heads; products and weights in `bfloat16`; weights in `int8`.

    They go together: an operator that computes in bfloat16 may have weights in int8.
    """

    members: int | None = None
    bfloat16: bool = False
    int8: bool = False

    @property
    def words(self) -> tuple[str, ...]:
        """The recipe as it is asked for."""
        named = {f"{MEMBERS}{self.members}": self.members is not None, "bfloat16": self.bfloat16, "int8": self.int8}
        return tuple(word for word, asked in named.items() if asked)


def read_recipe(words: Sequence[str]) -> Recipe:
    """The recipe of some words.

    Raises:
        InputError: a word that is none, or one that stands twice.
    """
    members: int | None = None
    for word in words:
        number = word.removeprefix(MEMBERS)
        if word.startswith(MEMBERS) and number.isascii() and number.isdigit() and int(number) >= 2:
            members = int(number)
        elif word not in ("bfloat16", "int8"):
            raise InputError(f"--optimise: got {word!r}, {EXPECTED}")
    kinds = [word.split("=")[0] for word in words]
    if not words or len(set(kinds)) < len(kinds):
        raise InputError(f"--optimise: got {' '.join(words) or 'nothing'}, {EXPECTED}")
    return Recipe(members, "bfloat16" in words, "int8" in words)
