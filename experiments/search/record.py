"""What a study is, kept in its folder, so that it is gone on with as it was."""

import os
from pathlib import Path
from typing import Any

import msgspec

from experiments.search.journal import locked
from experiments.search.settings import SearchConfig
from pnol_jax.errors import InputError
from pnol_jax.files import write_atomically
from pnol_jax.sharding.agreement import values_of

FILE, LOCK = "study.json", "lock"
# By all trials, besides the config and its overrides: the data, and of the search
SHARED_SEARCH = ("space", "objectives", "validation", "seed")


class Record(msgspec.Struct, frozen=True):
    """What a study is: the training config as it was read, the search, the digest of the cases."""

    name: str
    tree: dict[str, Any]
    search: SearchConfig
    data: str


def keep(folder: Path, record: Record) -> None:
    """Write the record of a study that begins, or goes on.

    Raises:
        InputError: the folder holds something else, or a study that differs in more than how it is searched.
    """
    path = folder / FILE
    folder.mkdir(parents=True, exist_ok=True)
    there = os.listdir(folder)  # once: another process may write the record meanwhile
    if FILE not in there and any(name != LOCK and not name.startswith(f".{FILE}") for name in there):
        raise InputError(f"{folder}: there is something else already, expected a new folder (--run)")
    with locked(folder / LOCK):  # several processes may begin it at once
        if path.exists():
            _check_same(folder, read(folder), record)
        write_atomically(path, msgspec.json.format(msgspec.json.encode(record)))


def read(folder: Path) -> Record:
    """The record of a study that has begun.

    Raises:
        InputError: there is none.
    """
    path = folder / FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=Record)
    except (OSError, msgspec.DecodeError) as error:
        raise InputError(f"{path}: no study: {error}") from None


def _check_same(folder: Path, there: Record, now: Record) -> None:
    old, new = (values_of(each.tree, "config") for each in (there, now))
    pairs: list[tuple[str, Any, Any]] = [("data", there.data, now.data)]
    pairs += [(key.removeprefix("config."), old.get(key), new.get(key)) for key in sorted(old | new)]
    pairs += [(f"search.{name}", getattr(there.search, name), getattr(now.search, name)) for name in SHARED_SEARCH]
    differing = [name for name, before, after in pairs if before != after]
    if differing:
        raise InputError(
            f"{folder}: its trials differ from what is asked for in {', '.join(differing)}; expected a new folder "
            "(--run), or the study as it was: only trials, sampler, pruner, report_every and vectorised may change"
        )
