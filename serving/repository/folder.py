"""What stands in the folder: versions and the fingerprints by which their changes are noticed."""

import os
from collections.abc import Iterator
from pathlib import Path

from serving.repository.entry import Fingerprint, Key


def scan(folder: Path) -> dict[Key, Fingerprint]:
    """Every NAME/VERSION/, with its fingerprint; names that begin with a dot are being written, or are no models.

    Nothing is read but names and `stat`, so that it can be repeated every few seconds.

    Raises:
        OSError: the folder cannot be listed.
    """
    found = {}
    for model in _folders(folder):
        try:
            for version in _folders(model):
                found[model.name, version.name] = fingerprint(version)
        except OSError:  # gone in the meantime, or not ours to read, such as lost+found
            continue
    return found


def fingerprint(version: Path) -> Fingerprint:
    """Of all files of a version: one that is replaced, added or still being copied changes it.

    Raises:
        OSError: the folder is gone.
    """
    with os.scandir(version) as files:
        stats = [(file.name, file.stat(follow_symlinks=False)) for file in files]
    return tuple(sorted((name, stat.st_size, stat.st_mtime_ns, stat.st_ino) for name, stat in stats))


def _folders(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if not path.name.startswith(".") and path.is_dir():
            yield path
