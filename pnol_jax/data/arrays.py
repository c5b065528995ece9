"""Cases from a folder of `.npy` files, which stay on the disk as memory maps; and writing such a folder.

A folder with `NAME.npy` files is one group of cases; a folder with subfolders is one group for each, on a grid of its
own. Coordinates are `x.npy`, `y.npy`, `z.npy`, times `t.npy`; `about.json` says where the cases come from.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pnol_jax.data.assemble import Contents, assemble, unknown_name
from pnol_jax.data.cases import CaseGroup, CaseSet
from pnol_jax.data.spec import SourceSpec
from pnol_jax.errors import InputError
from pnol_jax.files import sha256, sync_folder, write_atomically

ABOUT = "about.json"


def read(path: Path, spec: SourceSpec) -> CaseSet:
    """The cases of a folder, a group for each subfolder that holds arrays, in the order of their names.

    Raises:
        InputError: there are no arrays, one is missing, damaged or does not fit.
    """
    folders = [folder for folder in sorted(path.iterdir()) if any(folder.glob("*.npy"))] or [path]
    files: list[dict[str, str]] = []
    groups = tuple(_group(folder, spec, files) for folder in folders)
    return CaseSet(groups, spec.time_step, {"files": files} | _about(path))


def _group(folder: Path, spec: SourceSpec, files: list[dict[str, str]]) -> CaseGroup:
    names = {file.stem: file for file in sorted(folder.glob("*.npy"))}
    wanted = (*spec.inputs, *spec.outputs)
    for name in wanted:
        if name not in names:
            raise unknown_name(str(folder), name, names)
    extra = {name: _load(names[name]) for name in "xyzt" if name in names and name not in wanted}
    lines = {name: array for name, array in extra.items() if array.ndim == 1}
    mine = [{"path": str(names[name]), "sha256": sha256(names[name])} for name in dict.fromkeys((*wanted, *lines))]
    files += mine
    coordinates = {i: lines[name] for i, name in enumerate("xyz"[: len(spec.axes)]) if name in lines}
    origin = hashlib.sha256(" ".join(file["sha256"] for file in mine).encode()).hexdigest()
    arrays = {name: _load(names[name]) for name in wanted}
    return assemble(Contents(str(folder), arrays, origin, coordinates, lines.get("t")), spec)


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


def write(path: Path, groups: Mapping[str, Mapping[str, NDArray[Any]]], about: Mapping[str, Any]) -> None:
    """Write groups of named arrays, (cases, ...) each, as a folder that `read` reads; whole or not at all.

    Raises:
        InputError: there is something at the path already.
    """
    if path.exists():
        raise InputError(f"{path}: there is something already, expected a new folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        for name, arrays in groups.items():
            _write_group(aside / name, arrays)
        write_atomically(aside / ABOUT, json.dumps(dict(about), indent=2) + "\n")
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
