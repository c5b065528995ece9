"""Cases from an `.npz` file: named arrays, with coordinates in `x`, `y`, `z` and times in `t` if it has them."""

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pnol_jax.data.assemble import Contents, assemble, unknown_name
from pnol_jax.data.cases import CaseSet
from pnol_jax.data.spec import SourceSpec
from pnol_jax.errors import InputError
from pnol_jax.files import sha256

_UNREADABLE = (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError)


def read(path: Path, spec: SourceSpec) -> CaseSet:
    """The cases of one file. Only the arrays named are read; Python objects are refused.

    Raises:
        InputError: the file is damaged, an array is missing or does not fit.
    """
    where = str(path)
    wanted = (*spec.inputs, *spec.outputs)
    try:
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as file:
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise InputError(f"{where}: a single array, expected several in an .npz file")
            names = dict.fromkeys(file.files)
            for name in wanted:
                if name not in names:
                    raise unknown_name(where, name, names)
            arrays = {name: _array(file, name, where) for name in wanted}
            extra = {name: _array(file, name, where) for name in "xyzt" if name in names and name not in arrays}
    except InputError:
        raise
    except _UNREADABLE as error:
        raise InputError(f"{where}: not a readable .npz file: {error}") from None
    digest = sha256(path)
    lines = {name: array for name, array in extra.items() if array.ndim == 1}
    coordinates = {i: lines[name] for i, name in enumerate("xyz"[: len(spec.axes)]) if name in lines}
    group = assemble(Contents(where, arrays, digest, coordinates, lines.get("t")), spec)
    return CaseSet((group,), spec.time_step, {"files": [{"path": where, "sha256": digest}]})


def _array(file: Any, name: str, where: str) -> NDArray[Any]:
    try:
        return np.asarray(file[name])
    except _UNREADABLE as error:
        raise InputError(f"{where}: array {name!r} cannot be read: {error}") from None
