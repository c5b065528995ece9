"""Cases from HDF5 files in the layouts of PDEBench, read lazily.

The benchmark (Takamoto et al., NeurIPS 2022, arXiv:2210.07182) writes

- one array of solutions, `tensor`: (cases, times, x) in one dimension; for Darcy flow (cases, 1, x, y) beside the
  coefficient `nu`, (cases, x, y);
- one array a quantity for compressible flow, `density`, `pressure`, `Vx`, ...: (cases, times, *space);
- `velocity`, `force`, `particles` for incompressible flow: (cases, [times,] x, y, channels), times in `t`;
- one group a case for diffusion-reaction and shallow water: `0000/data`, (times, *space, channels), with
  `0000/grid/x`, `0000/grid/y`, `0000/grid/t`.

Coordinates are in `x-coordinate`, ..., or in the groups' `grid`; `t-coordinate` may have one entry more than there are
states (the edges of the last step).
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pnol_jax.data.assemble import Contents, assemble
from pnol_jax.data.cases import CaseSet
from pnol_jax.data.columns import Stored
from pnol_jax.data.hdf5 import open_hdf5
from pnol_jax.data.spec import SourceSpec
from pnol_jax.errors import InputError
from pnol_jax.files import sha256


class GroupedCases:
    """The same array of every case's group, as one array whose first axis counts the groups."""

    def __init__(self, groups: list[Any], name: str, where: str) -> None:
        self.groups, self.name = groups, name
        shapes = {group[name].shape if name in group else None for group in groups}
        if len(shapes) != 1 or None in shapes:
            raise InputError(f"{where}: array {name!r} is missing or of another shape in some cases: {shapes}")
        self.shape: tuple[int, ...] = (len(groups), *groups[0][name].shape)
        self.dtype: Any = groups[0][name].dtype

    def __getitem__(self, index: Any, /) -> NDArray[Any]:
        cases, *rest = index
        return np.stack([group[self.name][tuple(rest)] for group in self.groups[cases]])


def read(path: Path, spec: SourceSpec) -> CaseSet:
    """The cases of one file.

    Raises:
        InputError: h5py is not installed, the file is damaged, an array is missing or does not fit.
    """
    file, where = open_hdf5(path), str(path)
    digest = sha256(path)
    grouped = sorted(name for name in file if hasattr(file[name], "keys") and "grid" in file[name])
    contents = _grouped(file, grouped, where, digest) if grouped else _flat(file, where, digest)
    provenance: dict[str, Any] = {"path": where, "sha256": digest}
    attributes = {name: _plain(value) for name, value in file.attrs.items()}
    if attributes:
        provenance["attributes"] = attributes
    return CaseSet((assemble(contents, spec),), spec.time_step, {"files": [provenance]})


def _flat(file: Any, where: str, digest: str) -> Contents:
    lines = {name: file[name] for name in file if getattr(file[name], "ndim", 0) == 1}
    arrays: dict[str, Stored] = {name: file[name] for name in file if hasattr(file[name], "shape")}
    coordinates = {i: lines[f"{axis}-coordinate"][:] for i, axis in enumerate("xyz") if f"{axis}-coordinate" in lines}
    times = lines["t-coordinate"][:] if "t-coordinate" in lines else None
    if times is None and "t" in arrays:
        times = np.atleast_2d(np.asarray(arrays["t"][()]))[0]
    return Contents(where, arrays, digest, coordinates, times)


def _grouped(file: Any, names: list[str], where: str, digest: str) -> Contents:
    groups = [file[name] for name in names]
    grid = groups[0]["grid"]
    for axis in grid:
        odd = [name for name in names if not np.array_equal(file[name]["grid"].get(axis, ())[()], grid[axis][()])]
        if odd:
            raise InputError(f"{where}: case {odd[0]!r} has another grid in {axis!r} than case {names[0]!r}")
    stored = [name for name in groups[0] if hasattr(groups[0][name], "shape")]
    arrays: dict[str, Stored] = {name: GroupedCases(groups, name, where) for name in stored}
    coordinates = {i: grid[axis][:] for i, axis in enumerate("xyz") if axis in grid}
    return Contents(where, arrays, digest, coordinates, grid["t"][:] if "t" in grid else None)


def _plain(value: Any) -> Any:
    """An attribute as plain data."""
    return value.tolist() if hasattr(value, "tolist") else str(value)
