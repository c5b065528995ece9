"""Cases from MATLAB's `.mat` files; the first axis of every array, as MATLAB shows it, counts the cases.

Files of version 7.3 are HDF5 with the axes of every array in the reverse order; others are read by `mat5.py`. MATLAB
has no arrays of one axis: coordinates `x`, `y`, `z` and times `t` are rows or columns, and a column (cases, 1) is one
number for each case. The data sets of Li et al. (ICLR 2021, arXiv:2010.08895) are such files.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pnol_jax.data import mat5
from pnol_jax.data.assemble import Contents, assemble, unknown_name
from pnol_jax.data.cases import CaseSet
from pnol_jax.data.columns import Stored
from pnol_jax.data.hdf5 import open_hdf5
from pnol_jax.data.spec import SourceSpec
from pnol_jax.errors import InputError
from pnol_jax.files import sha256

HDF5, HEADER = b"\x89HDF\r\n\x1a\n", 512  # how HDF5 begins, and the bytes that MATLAB writes before it
UNREADABLE = (*mat5.UNREADABLE, LookupError, RuntimeError)
WORDS = {b"cell": "a cell array", b"char": "a text"}  # of what is stored like numbers


class Variable(Protocol):
    """A variable of a file; `kind` is "numbers", or says in words what it is."""

    @property
    def kind(self) -> str:
        """What it is."""

    def read(self) -> Stored:
        """Its numbers, the axes as MATLAB shows them."""


class Reversed:
    """A variable of version 7.3, read when it is indexed."""

    def __init__(self, stored: Any, label: str) -> None:
        self._stored, self._label = stored, label
        self.shape: tuple[int, ...] = getattr(stored, "shape", ())[::-1]
        self.dtype: Any = getattr(stored, "dtype", None)

    @property
    def kind(self) -> str:
        """What MATLAB's attributes and the type say."""
        attributes = self._stored.attrs
        if "MATLAB_sparse" in attributes:
            return "a sparse matrix"
        if self.dtype is None or (named := attributes.get("MATLAB_class", b"")) in WORDS:
            return "a structure" if self.dtype is None else WORDS[named]
        if attributes.get("MATLAB_empty", 0):
            return "empty"
        return "complex" if self.dtype.kind in "cV" else "numbers"

    def read(self) -> Stored:
        """Itself."""
        return self

    def __getitem__(self, index: Any, /) -> NDArray[Any]:
        given = index if isinstance(index, tuple) else (index,)
        whole = (*given, *(slice(None),) * (len(self.shape) - len(given)))
        try:
            return np.asarray(self._stored[whole[::-1]]).T
        except UNREADABLE as error:
            raise InputError(f"{self._label} cannot be read: {error}") from None


def read(path: Path, spec: SourceSpec) -> CaseSet:
    """The cases of one file; only the arrays named are read.

    Raises:
        InputError: h5py is needed and not installed; the file is damaged; an array is missing, holds anything but real
            numbers, or does not fit.
    """
    where, digest = str(path), sha256(path)
    found = _variables(path)
    arrays = {name: _array(found, name, where) for name in (*spec.inputs, *spec.outputs)}
    named = [name for name in "xyzt" if name in found and name not in arrays and found[name].kind == "numbers"]
    extra = {name: _array(found, name, where) for name in named}
    lines = {name: np.ravel(array[:]) for name, array in extra.items() if _is_line(array.shape)}
    coordinates = {i: lines[name] for i, name in enumerate("xyz"[: len(spec.axes)]) if name in lines}
    columns = {name: array[:, 0] if array.shape[1:] == (1,) else array for name, array in arrays.items()}
    group = assemble(Contents(where, columns, digest, coordinates, lines.get("t")), spec)
    return CaseSet((group,), spec.time_step, {"files": [{"path": where, "sha256": digest}]})


def _variables(path: Path) -> Mapping[str, Variable]:
    with open(path, "rb") as file:
        start = file.read(HEADER + len(HDF5))
    try:
        if HDF5 not in (start[: len(HDF5)], start[HEADER:]):
            return mat5.variables(path)
        found = {str(name): stored for name, stored in open_hdf5(path).items() if stored is not None}
        return {name: Reversed(stored, f"{path}: array {name!r}") for name, stored in found.items() if name[0] != "#"}
    except InputError:
        raise
    except UNREADABLE as error:
        raise InputError(f"{path}: not a readable .mat file: {error}") from None


def _array(found: Mapping[str, Variable], name: str, where: str) -> Stored:
    if name not in found:
        raise unknown_name(where, name, found)
    if (kind := found[name].kind) != "numbers":
        raise InputError(f"{where}: array {name!r} is {kind}, expected real numbers")
    try:
        return found[name].read()
    except UNREADABLE as error:
        raise InputError(f"{where}: array {name!r} cannot be read: {error}") from None


def _is_line(shape: tuple[int, ...]) -> bool:
    return len(shape) == 2 and min(shape) == 1 < max(shape)
