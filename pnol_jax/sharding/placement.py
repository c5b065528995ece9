"""What lies where: arrays of a run, put on the mesh at hand."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from numpy.typing import NDArray

from pnol_jax.bases import AxisOperands, GridOperands
from pnol_jax.collectives import CASES
from pnol_jax.sharding.divide import Specs, current_mesh
from pnol_jax.sharding.partition import Axes, partition

T = TypeVar("T")
WHOLE = PartitionSpec()
OF_CASES = PartitionSpec(CASES)


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

    def spec(path: tuple[Any, ...], leaf: Any) -> PartitionSpec:
        name = getattr(path[-1], "key", None) if path else None
        if name in shapes and leaf.shape == shapes[name].shape:
            return specs[name]
        return PartitionSpec("member") if members and leaf.ndim else WHOLE

    return jax.tree_util.tree_map_with_path(spec, tree)


def field_spec(ndim: int) -> PartitionSpec:
    """A field, (batch, [steps,] *space, channels): divided by case and along the last space axis."""
    return PartitionSpec(CASES, *(None,) * (ndim - 3), "space", None)


def grid_specs(grid: GridOperands) -> GridOperands:
    """The last axis' operands are divided along their points; per case, all are divided by case too."""
    lead: tuple[Any, ...] = (CASES,) if grid.batched else ()
    *others, last = grid.axes
    axes = [jax.tree.map(lambda _: PartitionSpec(*lead), axis) for axis in others]
    parts: AxisOperands = jax.tree.map(lambda _: PartitionSpec(*lead, "space"), last)
    return GridOperands((*axes, parts))


def placed(tree: T, specs: Specs) -> T:
    """Put whole host arrays on the mesh; every process has the same ones."""
    mesh = current_mesh()
    if mesh is None:
        return tree
    put: T = jax.tree.map(lambda leaf, spec: _put(leaf, NamedSharding(mesh, spec), leaf.shape), tree, specs)
    return put


def placed_rows(rows: NDArray[Any], spec: PartitionSpec, mine: slice, total: int) -> Any:
    """Put a batch on the mesh of which this process has read the rows `mine` of `total`."""
    mesh = current_mesh()
    if mesh is None:
        return rows
    return _put(rows, NamedSharding(mesh, spec), (total, *rows.shape[1:]), mine.start or 0)


def _put(array: Any, sharding: NamedSharding, shape: Sequence[int], first: int = 0) -> jax.Array:
    if sharding.is_fully_addressable or not isinstance(array, np.ndarray):
        return jax.device_put(array, sharding)

    def part(index: tuple[slice, ...]) -> NDArray[Any]:
        start, stop, _ = index[0].indices(shape[0]) if index else (0, 0, 1)
        return array[(slice(start - first, stop - first), *index[1:])] if index else array

    return jax.make_array_from_callback(tuple(shape), sharding, part)


def rows_of_process(batch_size: int) -> slice:
    """Which rows of a global batch this process must read."""
    mesh = current_mesh()
    if mesh is None:
        return slice(0, batch_size)
    places = NamedSharding(mesh, OF_CASES).addressable_devices_indices_map((batch_size,)).values()
    spans = [place[0].indices(batch_size) for place in places if place]
    return slice(min(span[0] for span in spans), max(span[1] for span in spans))


def on_host(tree: Any) -> Any:
    """NumPy arrays of the whole, on every process."""
    return jax.tree.map(_on_host, tree)


def _on_host(leaf: Any) -> NDArray[Any]:
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable and not leaf.is_fully_replicated:
        return np.asarray(multihost_utils.process_allgather(leaf, tiled=True))
    return np.asarray(leaf)
