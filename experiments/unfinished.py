"""The folder of a data set that is being made: begun once, found again by the same plan only, one process at a time."""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Sequence
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

SIZES = ("cases:", "shard_size:")  # of how many cases a set has


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
            refuse_finished(folder, [line for line in lines if not line.startswith(SIZES)])
            raise InputError(f"{folder} was begun otherwise: {'; '.join(lines)}; expected the same, or another --out")
        shards.clear(folder)
        try:
            yield about
        finally:
            shards.clear(folder)
            if not any(folder.glob(f"*/{PREFIX}*")):
                shutil.rmtree(folder)


def refuse_finished(folder: Path, lines: Sequence[str] = ()) -> None:
    """Refuse the folder of a finished data set, and say in how many cases and in which `lines` it differs.

    Raises:
        InputError: it is one.
    """
    if not (folder / ABOUT).exists() or (folder / UNFINISHED).exists():
        return
    cases = _about(folder / ABOUT).get("cases")
    if cases is not None:
        also = f" and was made otherwise: {'; '.join(lines)}" if lines else ""
        raise InputError(f"{folder} is finished with {cases} cases{also}; expected another --out")


def _read(folder: Path) -> dict[str, Any]:
    file = folder / (ABOUT if (folder / ABOUT).exists() else UNFINISHED)
    if not is_in_shards(folder) or not file.exists():
        refuse_finished(folder)
        raise InputError(f"{folder}: there is something already, expected a new folder (--out)")
    return _about(file)


def _about(file: Path) -> dict[str, Any]:
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
