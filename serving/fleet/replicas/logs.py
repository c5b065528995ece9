"""The files that replicas write their output to, kept small and few."""

import contextlib
import os
import shutil
from pathlib import Path


def rotate(log: Path, limit: int, kept: int) -> bool:
    """Begin a file anew that is larger than `limit` bytes, whose writer keeps it open; whether that was done.

    It is copied and then emptied, as its writer would go on in a renamed one. Lines written in between are lost. Where
    there is no room for the copy, the lines are lost instead of the disk's last bytes.
    """
    try:
        if os.stat(log).st_size <= limit:
            return False
    except FileNotFoundError:
        return False
    with contextlib.suppress(OSError):
        _shift(log, kept)
        if kept:
            shutil.copyfile(log, older(log, 1))
    os.truncate(log, 0)
    return True


def older(log: Path, age: int) -> Path:
    """The file's earlier content, 1 being the latest."""
    return log.with_name(f"{log.name}.{age}")


def forget(log: Path, kept: int) -> None:
    """Remove its earlier contents."""
    for age in range(1, kept + 1):
        older(log, age).unlink(missing_ok=True)


def last_line(log: Path) -> str:
    """What was written last; empty where nothing was."""
    with contextlib.suppress(OSError):
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        return lines[-1] if lines else ""
    return ""


def _shift(log: Path, kept: int) -> None:
    for age in range(kept - 1, 0, -1):
        if older(log, age).exists():
            os.replace(older(log, age), older(log, age + 1))
