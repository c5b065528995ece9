"""Which meshes a number of devices can be for an experiment, and what of the training state each device would hold."""

import itertools
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jax

from experiments.experiment import Experiment
from pnol_jax.config import MeshConfig
from pnol_jax.errors import InputError
from pnol_jax.sharding.mesh import ORDER, check_batch
from pnol_jax.sharding.partition import partition
from pnol_jax.training.step import TrainState

Sizes = Mapping[str, int]


@dataclass(frozen=True)
class Array:
    """Equal arrays of the training state or of a step; `bytes` of one, and how many there are."""

    name: str
    shape: tuple[int, ...]
    bytes: int
    number: int

    @property
    def total(self) -> int:
        """Bytes of all."""
        return self.bytes * self.number


def candidates(experiment: Experiment, devices: int) -> Iterator[Sizes]:
    """Meshes of so many devices that can share the batch and divide every parameter."""
    options = [[size for size in range(1, devices + 1) if devices % size == 0]] * len(ORDER)
    for sizes in itertools.product(*options):
        mesh = dict(zip(ORDER, sizes, strict=True))
        if math.prod(sizes) == devices and _possible(experiment, mesh):
            yield mesh


def _possible(experiment: Experiment, mesh: Sizes) -> bool:
    members = experiment.posterior.members or 1
    # A device without a point of its own would have nothing to do.
    fewest = min(group.grid.shape[-1] for group in experiment.train.groups)
    if members % mesh["member"] or mesh["space"] > fewest // 2:
        return False
    try:
        check_batch(experiment.config.training.batch_size, mesh, experiment.config.training.accumulate)
    except InputError:
        return False
    return True


def state_bytes(experiment: Experiment, state: TrainState, mesh: Sizes) -> int | None:
    """Bytes of the training state on each device; None where the mesh does not divide a parameter."""
    parts: dict[str, int] = {}
    for name, leaf in state.params.items():
        try:
            divided = partition(name, leaf.shape, experiment.posterior.axes[name], mesh)
        except InputError:
            return None
        parts[name] = math.prod(mesh[axis] for axis in divided if isinstance(axis, str))
    return sum(size // parts.get(name, 1) for name, size in _leaves(state))


def parameter_bytes(state: TrainState) -> int:
    """Bytes of the parameters alone."""
    return sum(_bytes(leaf) for leaf in state.params.values())


def held(state: TrainState) -> list[Array]:
    """The arrays of the state: those of all blocks together, a parameter with its moments and its average."""
    counts: Counter[tuple[str, tuple[int, ...], int]] = Counter()
    for name, size in _leaves(state):
        if name in state.params:
            counts[re.sub(r"\.\d+\.", ".*.", name), state.params[name].shape, size] += 1
    return [Array(*kind, number) for kind, number in counts.items()]


def as_config(mesh: Sizes) -> MeshConfig:
    """The section of a config."""
    return MeshConfig(**mesh)


def as_overrides(mesh: Sizes) -> list[str]:
    """As overrides of a config."""
    return [f"mesh.{axis}={size}" for axis, size in mesh.items() if size > 1]


def in_words(mesh: Sizes) -> str:
    """For people."""
    return " ".join(f"{axis}={size}" for axis, size in mesh.items() if size > 1) or "one device"


def _leaves(state: TrainState) -> Iterator[tuple[str, int]]:
    for path, leaf in jax.tree_util.tree_leaves_with_path((state.params, state.optimizer, state.average)):
        yield str(getattr(path[-1], "key", "")), _bytes(leaf)


def _bytes(leaf: Any) -> int:
    return int(math.prod(leaf.shape) * leaf.dtype.itemsize)
