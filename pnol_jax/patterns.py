"""Patterns of dotted names, by which a config says which parameters are meant."""

import difflib
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from pnol_jax.errors import InputError


def fits(name: str, patterns: Sequence[str]) -> bool:
    """Whether the last pattern that fits a name admits it. Exceptions alone are exceptions from everything."""
    verdict = bool(patterns) and all(pattern.startswith("!") for pattern in patterns)
    for pattern in patterns:
        if fnmatchcase(name, pattern.removeprefix("!")):
            verdict = not pattern.startswith("!")
    return verdict


def check(where: str, patterns: Sequence[str], names: Iterable[str]) -> None:
    """Refuse a pattern that fits no parameter.

    Raises:
        InputError: with the nearest names.
    """
    known = list(names)
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern.removeprefix("!")) for name in known):
            near = difflib.get_close_matches(pattern, known, n=3, cutoff=0.0)
            raise InputError(f"{where}: {pattern!r} fits no parameter; there are {', '.join(near)} and others")
