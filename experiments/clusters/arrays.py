"""What each task of a job array is given: `0-3`, seeds; or `section.key=a,b,c`, an override."""

import re
from collections.abc import Sequence

from pnol_jax.errors import InputError

SEED = "training.seed"
VALUE = re.compile(r"""(?:\[[^\[\]]*(?:\[[^\]]*\][^\[\]]*)*\]|"[^"]*"|[^,\[\]"])+""")  # commas in brackets do not part


def overrides(words: Sequence[str]) -> list[list[str]]:
    """The overrides of each task; several words go side by side, value by value.

    Raises:
        InputError: a word of another form, or words of different numbers of values.
    """
    columns = [_column(word) for word in words]
    lengths = {len(column) for column in columns}
    if len(lengths) > 1:
        raise InputError(f"array: got {sorted(lengths)} values, expected as many of each: {' '.join(words)}")
    return [list(row) for row in zip(*columns, strict=True)]


def _column(word: str) -> list[str]:
    if seeds := re.fullmatch(r"(\d+)-(\d+)", word):
        first, last = int(seeds[1]), int(seeds[2])
        if first <= last:
            return [f"{SEED}={seed}" for seed in range(first, last + 1)]
    key, equals, values = word.partition("=")
    parts = VALUE.findall(values)
    if not equals or not key or ",".join(parts) != values:
        raise InputError(f"array: got {word!r}, expected seeds such as 0-3, or section.key=value,value,...")
    return [f"{key}={value}" for value in parts]
