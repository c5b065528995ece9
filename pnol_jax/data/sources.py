"""Reading solved cases from files: which reader is for which kind of file, and several files as one set."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from pnol_jax.data import arrays, mat, npz, pdebench
from pnol_jax.data.cases import CaseSet
from pnol_jax.data.spec import SourceSpec
from pnol_jax.errors import InputError

IN_MEMORY_BYTES = 2**30  # of a set's files
READERS: dict[str, Callable[[Path, SourceSpec], CaseSet]] = {
    "a folder": arrays.read,
    ".npz": npz.read,
    ".h5": pdebench.read,
    ".hdf5": pdebench.read,
    ".mat": mat.read,
}


def read_cases(paths: Sequence[str | Path], spec: SourceSpec) -> CaseSet:
    """One set of cases from several files, each of which may have a grid of its own.

    Of files that are larger than `IN_MEMORY_BYTES` together all fields stay on the disk; `.npz` files are read anyway.

    Raises:
        InputError: no such file, a kind of file that is not known, or what the reader of its kind refuses.
    """
    if not paths:
        raise InputError("data: got no files, expected at least one")
    files = [Path(path) for path in paths]
    small = sum(map(_size, files)) <= IN_MEMORY_BYTES
    parts = [_read(file, replace(spec, in_memory=spec.in_memory and small)) for file in files]
    groups = tuple(group for part in parts for group in part.groups)
    read = [entry for part in parts for entry in part.provenance["files"]]
    return CaseSet(groups, spec.time_step, {"files": read})


def _size(path: Path) -> int:
    """Bytes of a file, or of those in a folder and its groups and shards; 0 where there is none."""
    files = path.rglob("*.npy") if path.is_dir() else [path] if path.is_file() else []
    return sum(file.stat().st_size for file in files)


def _read(path: Path, spec: SourceSpec) -> CaseSet:
    if not path.exists():
        raise InputError(f"data: no file or folder {str(path)!r}")
    kind = "a folder" if path.is_dir() else path.suffix.lower()
    if kind not in READERS:
        raise InputError(f"{path}: got a file of kind {kind!r}, expected one of {', '.join(READERS)}")
    return READERS[kind](path, spec)
