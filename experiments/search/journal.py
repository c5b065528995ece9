"""The journal of a study, a file that several processes append to, and locks that end with the process that holds them.

Locks are the system's (flock): they are lifted however a process ends, also across the hosts of a shared file system.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from optuna.storages.journal import JournalFileBackend

from pnol_jax.errors import InputError


class Journal(JournalFileBackend):
    """Optuna's, but a line that was not written to its end (a killed process, a full disk) is taken away.

    Optuna's own would append to that line and could not be read any more; and after a kill it waits half a minute.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self._path = path

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append a line for each entry."""
        lines = "".join(json.dumps(entry, separators=(",", ":")) + "\n" for entry in logs)
        with self._path.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            whole = _length_of_whole_lines(file)
            file.truncate(whole)
            file.seek(whole)
            file.write(lines.encode())
            file.flush()
            os.fsync(file.fileno())


def _length_of_whole_lines(file: Any) -> int:
    end: int = file.seek(0, os.SEEK_END)
    while end:
        start = max(end - 4096, 0)
        file.seek(start)
        piece: bytes = file.read(end - start)
        if b"\n" in piece:
            return start + piece.rindex(b"\n") + 1
        end = start
    return 0


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file, which is made if it is not there; waits for whoever has it.

    Raises:
        InputError: the file system has no locks.
    """
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            raise InputError(f"{path.parent}: {error}; expected a file system with locks (flock)") from None
        yield


def is_locked(path: Path) -> bool:
    """Whether a process has the lock of a file."""
    try:
        with path.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
