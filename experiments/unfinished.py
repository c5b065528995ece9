"""The folder of a data set that is being made: begun once, found again by the same plan only, one process at a time."""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from experiments import runs, simulation
from experiments.simulation import Plan
from pnol_jax.data import arrays, shards
from pnol_jax.data.arrays import ABOUT, UNFINISHED
from pnol_jax.data.shards import PREFIX
from pnol_jax.errors import InputError
from pnol_jax.files import write_atomically


def is_in_shards(folder: Path) -> bool:
    """Whether a folder holds a data set in shards, finished or not."""
    return (folder / UNFINISHED).exists() or any(folder.glob(f"*/{PREFIX}*"))


@contextmanager
def opened(folder: Path, plan: Plan) -> Iterator[dict[str, Any]]:
    """The folder of a plan, made or found again, for this process alone; hands out what its about.json is to say.

    If it holds no shard in the end it is removed.

    Raises:
        InputError: it is of another plan, holds something else, or another process is at it.
    """
    mine = msgspec.to_builtins(plan)
    if not folder.exists():
        arrays.write(folder, {}, mine | {"commit": runs.commit()}, name=UNFINISHED)
    with _locked(folder):
        about = _read(folder)
        lines = simulation.differences(mine, {key: value for key, value in about.items() if key in mine})
        if lines:
            raise InputError(f"{folder} was begun otherwise: {'; '.join(lines)}; expected the same, or another --out")
        shards.clear(folder)
        try:
            yield about
        finally:
            shards.clear(folder)
            if not any(folder.glob(f"*/{PREFIX}*")):
                shutil.rmtree(folder)


def _read(folder: Path) -> dict[str, Any]:
    file = folder / (ABOUT if (folder / ABOUT).exists() else UNFINISHED)
    if not is_in_shards(folder) or not file.exists():
        raise InputError(f"{folder}: there is something already, expected a new folder (--out)")
    try:
        about: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{file}: not readable: {error}") from None
    return about


def write_about(folder: Path, about: dict[str, Any]) -> None:
    """Declare the data set finished."""
    write_atomically(folder / ABOUT, json.dumps(about, indent=2) + "\n")
    (folder / UNFINISHED).unlink(missing_ok=True)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other processes out; the system lifts the lock when this one ends, however it ends."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise InputError(f"{folder}: another process is writing it") from None
    except OSError:
        pass  # a file system without locks: two runs make the same shards, and the second of each is dropped
    try:
        yield
    finally:
        os.close(descriptor)
