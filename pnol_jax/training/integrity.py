"""Is a checkpoint what was saved? Digests are written into it before it gets its name, and compared when it is read.

Orbax and its array format notice a file that is missing or short, but not one with other bytes in it.
"""

import shutil
import time
from pathlib import Path

from pnol_jax.data.digests import DIGESTS, digests_of, read_digests, verify, write_digests
from pnol_jax.errors import InputError

UNFINISHED = ".orbax-checkpoint-tmp"
ASIDE = "damaged-"


def seal(checkpoints: Path, step: int) -> None:
    """Write the digests of a checkpoint that is about to be finished.

    Those of the files beside them are left out: Orbax writes them again afterwards.

    Raises:
        OSError: a file cannot be read, or the disk is full.
    """
    (folder,) = checkpoints.glob(f"{step}{UNFINISHED}*")
    names = [str(file.relative_to(folder)) for file in sorted(folder.rglob("*")) if file.is_file()]
    write_digests(folder, digests_of(folder, [name for name in names if "/" in name]))


def damage(folder: Path) -> str | None:
    """What is wrong with a checkpoint, as a sentence that names the file; None if it is whole."""
    try:
        digests = read_digests(folder)
        verify(folder, digests)
    except InputError as error:
        return str(error)
    return None if digests else f"{folder / DIGESTS}: damaged: it names no file"


def set_aside(folder: Path) -> Path:
    """Rename a checkpoint so that nothing takes it for one; its new name."""
    aside = folder.with_name(f"{ASIDE}{folder.name}")
    number = 1
    while aside.exists():
        number += 1
        aside = folder.with_name(f"{ASIDE}{folder.name}-{number}")
    folder.rename(aside)
    return aside


def clear(checkpoints: Path, seconds: float = 5.0) -> None:
    """Remove what a failed save has left; its space may be what the next one needs.

    Threads of it may still be writing, for which it waits so long.
    """
    until = time.monotonic() + seconds
    while left := [*checkpoints.glob(f"*{UNFINISHED}*")]:
        for folder in left:
            shutil.rmtree(folder, ignore_errors=True)
        if time.monotonic() > until:
            return
        time.sleep(0.05)
