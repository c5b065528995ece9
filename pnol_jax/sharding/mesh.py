"""The mesh of a run: how many devices along each axis, and which."""

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence

import jax
import msgspec
from jax.sharding import AxisType, Mesh

from pnol_jax.collectives import CASES
from pnol_jax.config import MeshConfig
from pnol_jax.errors import InputError

# From the outermost to the innermost: what talks most in a step sits closest together.
ORDER = ("member", "data", "fsdp", "space", "model")
MOST_DEVICES = 16  # of one process


def sizes(config: MeshConfig, devices: int) -> dict[str, int]:
    """Devices along each axis; `data` takes what the others leave where the config does not say.

    Raises:
        InputError: the product is not the number of devices.
    """
    asked: dict[str, int | None] = msgspec.structs.asdict(config)
    others = math.prod(asked[axis] or 1 for axis in ORDER if axis != "data")
    if asked["data"] is None:
        if devices % others:
            raise InputError(f"mesh: {_product(asked)} devices do not divide the {devices} there are")
        asked["data"] = devices // others
    taken = {axis: asked[axis] or 1 for axis in ORDER}
    if (product := math.prod(taken.values())) != devices:
        hint = f" (JAX_NUM_CPU_DEVICES={product} makes a CPU look like as many)" if product > devices else ""
        raise InputError(f"mesh: {_product(taken)} devices, expected {devices}, which is what there are{hint}")
    return taken


def make_mesh(config: MeshConfig, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """The mesh of a config over the given devices, by default over those of all processes.

    Axes of one device are left out: a collective over one of them would still be a copy.
    """
    found = list(jax.devices() if devices is None else devices)
    shape = {axis: size for axis, size in sizes(config, len(found)).items() if size > 1} or {"data": 1}
    kinds = (AxisType.Auto,) * len(shape)
    return jax.make_mesh(tuple(shape.values()), tuple(shape), axis_types=kinds, devices=found)


def one_device() -> Mesh:
    """A mesh of the first device of this process."""
    return make_mesh(MeshConfig(), jax.local_devices()[:1])


def mesh_or_one_device(config: MeshConfig, batch_size: int) -> Mesh:
    """The mesh of a config, of one device where it does not fit the devices there are or a batch of this size."""
    try:
        check_batch(batch_size, sizes(config, jax.device_count()), 1)
    except InputError:
        return one_device()
    return make_mesh(config)


@contextlib.contextmanager
def use(mesh: Mesh) -> Iterator[None]:
    """While entered, programs are divided over the mesh; of one device it is as if there were none."""
    if mesh.size == 1:
        yield
        return
    with jax.set_mesh(mesh):
        yield


def check_batch(batch_size: int, shape: Mapping[str, int], accumulate: int) -> None:
    """Refuse a batch that the mesh cannot share equally, in as many parts as it is computed in."""
    parts = math.prod(shape[axis] for axis in CASES) * accumulate
    if batch_size % parts:
        raise InputError(
            f"training.batch_size: got {batch_size}, expected a multiple of {parts}: mesh.data = {shape['data']} times "
            f"mesh.fsdp = {shape['fsdp']} devices share a batch by case, in training.accumulate = {accumulate} parts"
        )


def check_processes(config: MeshConfig, batch_size: int, accumulate: int, processes: int, devices: int = 0) -> None:
    """Refuse what so many processes cannot train, before any of them is started.

    Args:
        config: the mesh.
        batch_size: of all processes together.
        accumulate: parts of a batch.
        processes: how many there will be.
        devices: of each process; 0: nobody knows yet, and any number will do.

    Raises:
        InputError: the mesh is not of as many devices, or cannot share the batch.
    """
    refused: list[InputError] = []
    for each in (devices,) if devices else range(1, MOST_DEVICES + 1):
        try:
            check_batch(batch_size, sizes(config, processes * each), accumulate)
        except InputError as error:
            refused.append(error)
        else:
            return
    raise refused[0]


def check_members(members: int | None, shape: Mapping[str, int]) -> None:
    """Refuse to divide members that there are not."""
    if (members or 1) % shape["member"]:
        raise InputError(
            f"mesh.member: got {shape['member']}, expected a divisor of the posterior's {members or 1} members: "
            "only posterior.name = 'ensemble' and 'swag' have several"
        )


def _product(shape: Mapping[str, int | None]) -> str:
    return " times ".join(f"{axis} = {shape[axis]}" for axis in ORDER if shape[axis] is not None)
