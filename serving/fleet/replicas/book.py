"""What runs, on the disk: written by each supervisor, read by the next one."""

import fcntl
import logging
import os
from pathlib import Path
from typing import Any

import msgspec

from pnol_jax.errors import InputError
from pnol_jax.files import write_atomically
from serving.fleet.replicas.life import Replica

FILE, LOCK = "book.json", "lock"
log = logging.getLogger("serving.fleet")


class Release(msgspec.Struct, frozen=True):
    """Settings that replicas are started with; the number tells which came later."""

    number: int
    settings: dict[str, Any]


class Bounds(msgspec.Struct, frozen=True):
    """How many replicas a person wants; what is None is left to the config and its policies."""

    fixed: int | None = None
    minimum: int | None = None
    maximum: int | None = None


class Book(msgspec.Struct, frozen=True):
    """All that a supervisor must know of its predecessor's work."""

    release: Release
    before: Release | None = None  # the one to go back to while an update is under way
    replicas: tuple[Replica, ...] = ()
    names: int = 0  # given so far
    desired: int | None = None
    bounds: Bounds = Bounds()


def write_book(folder: Path, book: Book) -> None:
    """Replace the book.

    Raises:
        OSError: the disk is full; the book is then what it was before.
    """
    write_atomically(folder / FILE, msgspec.json.encode(book))


def read_book(folder: Path) -> Book | None:
    """The book of this folder; None where there is none, or one that says something else."""
    try:
        return msgspec.json.decode((folder / FILE).read_bytes(), type=Book)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        log.error("%s: %s; replicas that run are found by their environment and ended", folder / FILE, error)
        return None


class Lock:
    """Held by the one supervisor of a folder; a process that ends lets it go, however it ends.

    Raises:
        InputError: another one holds it.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._file)
            raise InputError(f"{folder}: another supervisor looks after this fleet, expected one at a time") from None

    def release(self) -> None:
        """Let another one begin."""
        os.close(self._file)
