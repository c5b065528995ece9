"""What lies where: the arrays of a run, put on the mesh at hand."""

from collections.abc import Mapping
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from numpy.typing import NDArray

from pnol_jax.bases import GridOperands
from pnol_jax.collectives import CASES, SPACE
from pnol_jax.sharding.divide import Specs, current_mesh
from pnol_jax.sharding.partition import Axes, on, partition, shardings, spec

T = TypeVar("T")
WHOLE = spec()
OF_CASES = spec(CASES)


def parameter_specs(shapes: Mapping[str, Any], axes: Mapping[str, Axes], mesh: Mesh) -> dict[str, PartitionSpec]:
    """How the mesh divides parameters, by name; those without logical names are whole on every device.

    Raises:
        InputError: a dimension that the mesh cannot divide.
    """
    return {
        name: partition(name, leaf.shape, axes[name], dict(mesh.shape)) if name in axes else WHOLE
        for name, leaf in shapes.items()
    }


def like_parameters(tree: Any, shapes: Mapping[str, Any], specs: Mapping[str, PartitionSpec], members: bool) -> Specs:
    """Specs for a tree in which copies of the parameters stand under their names, such as an optimiser's state.

    What else there is has one entry a member where there are members, and is whole otherwise.
    """

    def of(path: tuple[Any, ...], leaf: Any) -> PartitionSpec:
        name = str(getattr(path[-1], "key", "")) if path else ""
        if name in shapes and leaf.shape == shapes[name].shape:
            return specs[name]
        return spec("member") if members and leaf.ndim else WHOLE

    return jax.tree_util.tree_map_with_path(of, tree)


def field_spec(ndim: int) -> PartitionSpec:
    """A field, (batch, [steps,] *space, channels): divided by case and along the last space axis."""
    return spec(CASES, *(None,) * (ndim - 3), "space", None)


def grid_specs(grid: GridOperands) -> GridOperands:
    """The last axis' operands are divided along their points; operands per case by case too."""
    lead = (CASES,) if grid.batched else ()
    *others, last = grid.axes
    axes: list[Any] = [jax.tree.map(lambda _: spec(*lead), axis) for axis in others]
    return GridOperands((*axes, jax.tree.map(lambda _: spec(*lead, "space"), last)))


def placed(tree: T, specs: Specs) -> T:
    """Put whole host arrays on the mesh; every process has the same ones."""
    mesh = current_mesh()
    if mesh is None:
        return tree
    put: T = jax.tree.map(_put, tree, shardings(mesh, specs))
    return put


class BatchPlacement:
    """Puts batches of `size` cases on the mesh at hand, of which this process reads the `rows` that its devices hold.

    Without a mesh everything stays what it is.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._mesh = current_mesh()
        self.rows = slice(0, size) if self._mesh is None else _rows(self._mesh, size)
        self._grids: dict[int, tuple[GridOperands, GridOperands]] = {}

    def field(self, rows: NDArray[Any]) -> Any:
        """A field's rows of this process, (rows, [steps,] *space, channels)."""
        return self._put_rows(rows, field_spec(rows.ndim))

    def cases(self, rows: NDArray[Any]) -> Any:
        """One entry a case, (rows, ...)."""
        return self._put_rows(rows, OF_CASES)

    def grid(self, operands: GridOperands) -> GridOperands:
        """A grid's operands; those that the cases share are put there once."""
        if self._mesh is None:
            return operands
        if operands.batched:
            put: GridOperands = jax.tree.map(self._put_rows, operands, grid_specs(operands))
            return put
        known = self._grids.get(id(operands))
        if known is None:
            if len(self._grids) > 64:
                self._grids.clear()
            known = self._grids[id(operands)] = (operands, placed(operands, grid_specs(operands)))
        return known[1]

    def _put_rows(self, rows: NDArray[Any], division: PartitionSpec) -> Any:
        if self._mesh is None:
            return rows
        sharding = NamedSharding(self._mesh, on(self._mesh, division))
        return _put(rows, sharding, (self.size, *rows.shape[1:]), self.rows.start)


def _rows(mesh: Mesh, size: int) -> slice:
    places = NamedSharding(mesh, on(mesh, OF_CASES)).addressable_devices_indices_map((size,)).values()
    spans = [place[0].indices(size) for place in places if place]
    return slice(min(span[0] for span in spans), max(span[1] for span in spans))


def _put(array: Any, sharding: NamedSharding, shape: tuple[int, ...] | None = None, first: int = 0) -> jax.Array:
    """An array on the mesh, of which the rows from `first` on are here."""
    if sharding.is_fully_addressable:
        there: jax.Array = jax.device_put(array, sharding)
        return there
    here = np.asarray(array)
    whole = here.shape if shape is None else shape

    def part(index: tuple[slice, ...] | None) -> NDArray[Any]:
        if not index:
            return here
        start, stop, _ = index[0].indices(whole[0])
        piece: NDArray[Any] = here[(slice(start - first, stop - first), *index[1:])]
        return piece

    put: jax.Array = jax.make_array_from_callback(whole, sharding, part)
    return put


def space_parts() -> int:
    """How many parts the mesh at hand divides the last space axis into."""
    mesh = current_mesh()
    return 1 if mesh is None else int(np.prod([mesh.shape.get(axis, 1) for axis in SPACE]))


def case_parts() -> int:
    """How many parts the mesh at hand divides a batch into."""
    mesh = current_mesh()
    return 1 if mesh is None else int(np.prod([mesh.shape.get(axis, 1) for axis in CASES]))


def from_first(tree: T) -> T:
    """Host arrays of the first process, on every process: what each computes by itself may differ in its rounding."""
    if jax.process_count() == 1:
        return tree
    same: T = multihost_utils.broadcast_one_to_all(tree)
    return same


def on_host(tree: Any) -> Any:
    """NumPy arrays of the whole, on every process."""
    return jax.tree.map(_on_host, tree)


def _on_host(leaf: Any) -> NDArray[Any]:
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable and not leaf.is_fully_replicated:
        return np.asarray(multihost_utils.process_allgather(leaf, tiled=True))
    return np.asarray(leaf)
