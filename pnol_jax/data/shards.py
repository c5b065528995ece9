"""A group of cases in shards: folders of arrays that are read one after the other as if they were one.

    GROUP/shard-00000/NAME.npy      arrays of some cases, (cases, ...)
                     /cases.jsonl   a line for each case: number, seed, parameters, or the error that kept it out
                     /digests.json  size and SHA-256 of the files beside it
    GROUP/x.npy ...                 coordinates
    GROUP/digests.json              those of all files; written last: with it the group is whole

A shard is written aside, flushed and renamed, so there is a whole one or none.
"""

import errno
import io
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pnol_jax.data.appending import AppendedArray
from pnol_jax.data.digests import Digests, digests_of, read_digests, write_digests
from pnol_jax.data.joined import Joined, part
from pnol_jax.files import sync_folder, write_atomically

CASES, PREFIX = "cases.jsonl", "shard-"


@dataclass(frozen=True)
class Case:
    """A case's line in cases.jsonl, and its arrays, of which there are none if it could not be computed."""

    line: Mapping[str, Any]
    arrays: Mapping[str, NDArray[Any]] | None


def shard_name(number: int) -> str:
    """The folder of a shard."""
    return f"{PREFIX}{number:05d}"


def write_shard(group: Path, name: str, cases: Iterable[Case]) -> None:
    """Write a shard, a case at a time; whole or not at all. One that is there already stays.

    Raises:
        OSError: the disk is full or read-only.
        ValueError: cases whose arrays differ in name, shape or type.
    """
    group.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(dir=group, prefix=f".{name}."))
    try:
        _fill(aside, cases)
        write_digests(aside, digests_of(aside, sorted(os.listdir(aside))))
        aside.chmod(0o755)
        _rename(aside, group / name)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    sync_folder(group)


def _fill(folder: Path, cases: Iterable[Case]) -> None:
    arrays: dict[str, AppendedArray] = {}
    with ExitStack() as stack:
        lines = stack.enter_context((folder / CASES).open("w", encoding="utf-8"))
        for case in cases:
            lines.write(as_line(case))
            if case.arrays is None:
                continue
            if not arrays:
                arrays = {name: stack.enter_context(AppendedArray(folder / f"{name}.npy")) for name in case.arrays}
            if case.arrays.keys() != arrays.keys():
                raise ValueError(f"got a case with arrays {list(case.arrays)}, expected {list(arrays)} as before")
            for name, values in case.arrays.items():
                arrays[name].append(values)
        lines.flush()
        os.fsync(lines.fileno())


def as_line(case: Case) -> str:
    """What is recorded of a case."""
    return json.dumps(dict(case.line)) + "\n"


def read_lines(shard: Path) -> list[dict[str, Any]]:
    """What is recorded of a shard's cases."""
    return [json.loads(line) for line in (shard / CASES).read_text(encoding="utf-8").splitlines()]


def _rename(aside: Path, target: Path) -> None:
    """Give a shard its name, unless another process has made the same one meanwhile."""
    try:
        os.rename(aside, target)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        shutil.rmtree(aside)


def clear(folder: Path) -> None:
    """Remove what killed processes left half-written in a data set's folder and in those of its groups."""
    for left in (*folder.glob("*/.*"), *folder.glob(".*")):
        if left.name.startswith(f".{PREFIX}"):
            shutil.rmtree(left, ignore_errors=True)
        elif re.fullmatch(r"\.\w+\.(json|npy)\..*", left.name):
            left.unlink(missing_ok=True)


def write_group(group: Path, names: Sequence[str], coordinates: Mapping[str, NDArray[Any]]) -> None:
    """Make a group of its shards, in the given order: write coordinates, (n,) by name, and the digests of all files."""
    for name, points in coordinates.items():
        content = io.BytesIO()
        np.save(content, points, allow_pickle=False)
        write_atomically(group / f"{name}.npy", content.getvalue())
    digests = digests_of(group, [f"{name}.npy" for name in coordinates])
    for shard in names:
        digests |= {f"{shard}/{name}": file for name, file in read_digests(group / shard).items()}
    write_digests(group, digests)


def files_of_arrays(paths: Iterable[str]) -> dict[str, list[str]]:
    """The array files of a group by the names of the arrays: one for each shard or, for coordinates, one."""
    arrays: dict[str, list[str]] = {}
    for path in paths:
        if path.endswith(".npy"):
            arrays.setdefault(Path(path).stem, []).append(path)
    return arrays


def joined(group: Path, files: Digests) -> Joined:
    """The files of an array as one.

    Raises:
        InputError: a file that cannot be read, or that differs from the others in more than its number of cases.
    """
    return Joined([part(group / path, known.sha256) for path, known in files.items()])
