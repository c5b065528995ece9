"""A folder of results that are costly to compute and cheap to keep, such as decompositions.

Each is known by the digest of what it belongs to. An entry is one file, `KEY-DIGEST.safetensors`, where DIGEST is its
own content's: a damaged one is never read, and computed again. The folder is bounded; what was not used for longest
goes first. A full or read-only disk costs the entry and nothing else.
"""

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from pnol_jax.files import sha256_bytes, write_atomically

Arrays = dict[str, NDArray[Any]]
DIGITS = 16  # of a digest, in a file's name


@dataclass(frozen=True)
class Cache:
    """At most `largest` bytes of arrays in `folder`."""

    folder: Path
    largest: int = 2**30

    def get(self, key: str, compute: Callable[[], Arrays]) -> Arrays:
        """The arrays of a key: those that are kept, or else what `compute` gives, kept from then on."""
        for file in self._files(key):
            kept = _read(file)
            if kept is not None:
                return kept
        arrays = compute()
        with contextlib.suppress(OSError):
            self._put(key, arrays)
        return arrays

    def _files(self, key: str) -> list[Path]:
        return sorted(self.folder.glob(f"{key}-*.safetensors"))

    def _put(self, key: str, arrays: Arrays) -> None:
        content = save({name: np.ascontiguousarray(value) for name, value in arrays.items()})
        if len(content) > self.largest:
            return
        for damaged in self._files(key):
            damaged.unlink(missing_ok=True)
        self._make_room(len(content))
        write_atomically(self.folder / f"{key}-{sha256_bytes(content)[:DIGITS]}.safetensors", content)

    def _make_room(self, size: int) -> None:
        kept = [(file, file.stat()) for file in self.folder.glob("*.safetensors")]
        total = size + sum(found.st_size for _, found in kept)
        for file, found in sorted(kept, key=lambda entry: entry[1].st_mtime):
            if total <= self.largest:
                return
            file.unlink(missing_ok=True)
            total -= found.st_size


def _read(file: Path) -> Arrays | None:
    """An entry, None where it is damaged."""
    try:
        content = file.read_bytes()
        if sha256_bytes(content)[:DIGITS] != file.stem.rpartition("-")[2]:
            return None
        os.utime(file)
        return load(content)
    except (OSError, SafetensorError):
        return None
