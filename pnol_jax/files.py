"""Writing a file so that a reader sees the old one or the new one, never half of one; and naming it by its digest."""

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path


def write_atomically(path: str | os.PathLike[str], data: bytes | str, mode: int = 0o644) -> None:
    """Write `data` beside `path`, flush it to the disk, and rename it over `path`; `mode`: who may read it.

    Raises:
        OSError: the disk is full or read-only; `path` is then what it was before.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    content = data.encode() if isinstance(data, str) else data
    descriptor, aside = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(aside, mode)
        os.replace(aside, target)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise
    sync_folder(target.parent)


def sync_folder(folder: str | os.PathLike[str]) -> None:
    """Flush a folder's entries, so that a rename in it survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class LineFile:
    """A file to which lines are added, each whole: where the disk is full they wait for the next one, or for the end.

    It is made with the first line.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = path
        self._file: int | None = None
        self._waiting: list[bytes] = []

    def add(self, line: str) -> None:
        """Add a line."""
        self._waiting.append(line.encode() + b"\n")
        self._write()

    def close(self) -> None:
        """Let the file go, with the lines that there is room for."""
        self._write()
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _write(self) -> None:
        with contextlib.suppress(OSError):
            while self._waiting:
                if self._file is None:
                    self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
                end, line = os.fstat(self._file).st_size, self._waiting[0]
                written = os.write(self._file, line)
                if written < len(line):
                    os.ftruncate(self._file, end)
                    return
                del self._waiting[0]


def sha256_bytes(data: bytes) -> str:
    """The SHA-256 of `data`, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def sha256(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file, in hexadecimal, read in pieces."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
