"""`digests.json`: size and SHA-256 of the files of a folder, by which damage is found and named."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from pnol_jax.errors import InputError
from pnol_jax.files import sha256, write_atomically

DIGESTS = "digests.json"
THREADS = 4  # that read files at the same time; the digest itself runs outside Python's lock


class StoredFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """By which a file is known."""

    bytes: int
    sha256: str


Digests = dict[str, StoredFile]  # by path, relative to the folder that holds them


def digests_of(folder: Path, names: Iterable[str]) -> Digests:
    """The digests of files as they are now."""
    return {name: StoredFile((folder / name).stat().st_size, sha256(folder / name)) for name in names}


def write_digests(folder: Path, digests: Digests) -> None:
    """Write them into the folder."""
    write_atomically(folder / DIGESTS, msgspec.json.format(msgspec.json.encode(digests)) + b"\n")


def read_digests(folder: Path) -> Digests:
    """The digests that a folder holds.

    Raises:
        InputError: there are none, or they cannot be read.
    """
    file = folder / DIGESTS
    try:
        return msgspec.json.decode(file.read_bytes(), type=Digests)
    except FileNotFoundError:
        raise InputError(f"{folder}: not whole: there is no {DIGESTS} in it") from None
    except (msgspec.DecodeError, UnicodeDecodeError, OSError) as error:
        raise InputError(f"{file}: damaged: {error}") from None


def verify(folder: Path, digests: Digests) -> None:
    """Compare files with their digests.

    Raises:
        InputError: one is missing or differs, by its name.
    """
    with ThreadPoolExecutor(THREADS) as threads:
        for difference in threads.map(lambda name: _difference(folder / name, digests[name]), digests):
            if difference:
                raise InputError(difference)


def _difference(file: Path, expected: StoredFile) -> str | None:
    try:
        size = file.stat().st_size
        if size != expected.bytes:
            return f"{file}: damaged: got {size} bytes, expected {expected.bytes}"
        digest = sha256(file)
    except OSError as error:
        return f"{file}: not readable: {error.strerror}"
    return None if digest == expected.sha256 else f"{file}: damaged: got SHA-256 {digest}, expected {expected.sha256}"
