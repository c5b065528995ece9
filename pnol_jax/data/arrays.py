"""Cases from a folder of `.npy` files, which stay on the disk as memory maps; and writing such a folder.

A folder with `NAME.npy` files is one group of cases; a folder with subfolders is one group for each, on a grid of its
own. Coordinates are `x.npy`, `y.npy`, `z.npy`, times `t.npy`; `about.json` says where the cases come from. A group may
be in shards (`shards.py`); `unfinished.json` stands in the place of `about.json` until it has all of them.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pnol_jax.data.assemble import Contents, assemble, unknown_name
from pnol_jax.data.cases import CaseGroup, CaseSet
from pnol_jax.data.columns import Stored
from pnol_jax.data.digests import Digests, digests_of, read_digests, verify
from pnol_jax.data.shards import CASES, PREFIX, files_of_arrays, joined
from pnol_jax.data.spec import SourceSpec
from pnol_jax.errors import InputError
from pnol_jax.files import sync_folder, write_atomically

ABOUT, UNFINISHED = "about.json", "unfinished.json"


def read(path: Path, spec: SourceSpec) -> CaseSet:
    """The cases of a folder, a group for each subfolder that holds arrays, in the order of their names.

    Raises:
        InputError: there are no arrays, one is missing, damaged or does not fit, or not all of them are there yet.
    """
    if (path / UNFINISHED).exists() and not (path / ABOUT).exists():
        raise InputError(f"{path}: not finished; the command that is writing it goes on where it stopped")
    folders = [folder for folder in sorted(path.iterdir()) if _holds_group(folder)] or [path]
    files: list[dict[str, str]] = []
    groups = tuple(_group(folder, spec, files) for folder in folders)
    return CaseSet(groups, spec.time_step, {"files": files} | _about(path))


def _holds_group(folder: Path) -> bool:
    return any(any(folder.glob(pattern)) for pattern in ("*.npy", f"{PREFIX}*"))


def _group(folder: Path, spec: SourceSpec, files: list[dict[str, str]]) -> CaseGroup:
    in_shards = any(folder.glob(f"{PREFIX}*"))
    digests = read_digests(folder) if in_shards else {}
    stored = files_of_arrays(digests or sorted(file.name for file in folder.glob("*.npy")))
    wanted = (*spec.inputs, *spec.outputs)
    for name in wanted:
        if name not in stored:
            raise unknown_name(str(folder), name, stored)
    extra = {name: _load(folder / stored[name][0]) for name in "xyzt" if name in stored and name not in wanted}
    lines = {name: array for name, array in extra.items() if array.ndim == 1}
    read = {name: stored[name] for name in (*wanted, *lines)}
    paths = [path for of_array in read.values() for path in of_array]
    if in_shards:
        verify(folder, {path: digests[path] for path in paths})
    else:
        digests = digests_of(folder, paths)
    mine = [_provenance(folder, name, [digests[path].sha256 for path in read[name]]) for name in read]
    files += mine
    coordinates = {i: lines[name] for i, name in enumerate("xyz"[: len(spec.axes)]) if name in lines}
    arrays = {name: _open(folder, {path: digests[path] for path in read[name]}) for name in wanted}
    origin = _digest([file["sha256"] for file in mine])
    return assemble(Contents(str(folder), arrays, origin, coordinates, lines.get("t")), spec)


def _provenance(folder: Path, name: str, digests: Sequence[str]) -> dict[str, str]:
    """Where an array is and its SHA-256; of several files it is that of theirs."""
    if len(digests) == 1:
        return {"path": str(folder / f"{name}.npy"), "sha256": digests[0]}
    return {"path": str(folder / f"{PREFIX}*" / f"{name}.npy"), "sha256": _digest(digests)}


def _digest(digests: Sequence[str]) -> str:
    return hashlib.sha256(" ".join(digests).encode()).hexdigest()


def _open(folder: Path, files: Digests) -> Stored:
    paths = list(files)
    return _load(folder / paths[0]) if len(paths) == 1 else joined(folder, files)


def _load(file: Path) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{file}: not a readable .npy file: {error}") from None
    return array


def _about(path: Path) -> dict[str, Any]:
    file = path / ABOUT
    if not file.is_file():
        return {}
    try:
        return {"about": json.loads(file.read_text(encoding="utf-8"))}
    except ValueError as error:
        raise InputError(f"{file}: not readable: {error}") from None


def write(
    path: Path,
    groups: Mapping[str, Mapping[str, NDArray[Any]]],
    about: Mapping[str, Any],
    lines: Mapping[str, str] | None = None,
    name: str = ABOUT,
) -> None:
    """Write groups of named arrays, (cases, ...) each, as a folder that `read` reads; whole or not at all.

    `lines` are the groups' `cases.jsonl`; `name` is the file that takes what `about` says.

    Raises:
        InputError: there is something at the path already.
    """
    if path.exists():
        raise InputError(f"{path}: there is something already, expected a new folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        for group, arrays in groups.items():
            _write_group(aside / group, arrays)
        for group, text in (lines or {}).items():
            write_atomically(aside / group / CASES, text)
        write_atomically(aside / name, json.dumps(dict(about), indent=2) + "\n")
        aside.chmod(0o755)
        os.rename(aside, path)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    sync_folder(path.parent)


def _write_group(folder: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    folder.mkdir()
    for name, array in arrays.items():
        with (folder / f"{name}.npy").open("wb") as file:
            np.save(file, array, allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
    sync_folder(folder)
