"""The optimiser's state in the memory of the host: a step fetches it when the gradient is there, and puts it back.

The device then holds it during the update only, beside no field of the operator, for the price of moving it twice.
"""

from typing import Any, TypeVar

import jax
from jax.sharding import Sharding

from pnol_jax.errors import InputError

T = TypeVar("T")
HOST = "pinned_host"


def offloaded(tree: T) -> T:
    """The arrays of a tree put into the host's memory, divided as they were; single numbers stay where they are.

    Raises:
        InputError: the device's programs cannot reach such a memory.
    """
    device = jax.local_devices()[0]
    kinds = [memory.kind for memory in device.addressable_memories()]
    if HOST not in kinds:
        raise InputError(
            f"training.offload: got 'optimizer', but programs on {device.platform} reach no memory of the host, only "
            f"{', '.join(kinds)}; expected 'none'"
        )
    places = jax.tree.map(lambda leaf: leaf.sharding.with_memory_kind(HOST) if leaf.ndim else leaf.sharding, tree)
    put: T = jax.device_put(tree, places)
    return put


def bound(tree: T) -> T:
    """The arrays of a tree bound to their devices, as all results of a program are that has one such argument."""
    put: T = jax.device_put(tree, jax.tree.map(lambda leaf: leaf.sharding, tree))
    return put


def on_device(tree: T) -> T:
    """The arrays of a tree, those in the host's memory copied to the device; between steps there is room for them."""
    put: T = jax.device_put(tree, jax.tree.map(lambda leaf: beside(leaf.sharding), tree))
    return put


def beside(sharding: Sharding) -> Sharding:
    """The same division, in the device's own memory."""
    if sharding.memory_kind != HOST:
        return sharding
    return sharding.with_memory_kind(jax.local_devices()[0].default_memory().kind)


def fetched(tree: T) -> T:
    """Within a program: the arrays of a tree that lie in the host's memory, brought into the device's."""
    there: T = jax.tree.map(lambda leaf: jax.device_put(leaf, jax.memory.Space.Device) if _away(leaf) else leaf, tree)
    return there


def put_back(tree: T, like: T) -> T:
    """Within a program: the arrays of a tree brought to where those of `like` are."""
    host = jax.memory.Space.Host
    there: T = jax.tree.map(lambda leaf, old: jax.device_put(leaf, host) if _away(old) else leaf, tree, like)
    return there


def _away(leaf: Any) -> bool:
    return bool(jax.typeof(leaf).memory_space == jax.memory.Space.Host)
