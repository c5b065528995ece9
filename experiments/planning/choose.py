"""The best mesh of a number of devices: by estimates among all, then compiled."""

import math
from dataclasses import dataclass

import jax

from experiments.experiment import Experiment
from experiments.planning.abstract import Compiled, compile_step
from experiments.planning.frugal import Changes, Ladder
from experiments.planning.meshes import Sizes, as_config, as_overrides, candidates, parameter_bytes, state_bytes
from pnol_jax.sharding.mesh import make_mesh
from pnol_jax.sharding.roofline import Cost, DeviceKind, Prediction, predict
from pnol_jax.sharding.traffic import Collective
from pnol_jax.training.step import TrainState

SPARE = 0.9  # of a device's memory; the rest is the allocator's and the libraries'
TRIES = 3  # meshes that are compiled before a number of devices is given up


@dataclass(frozen=True)
class Choice:
    """A mesh, compiled, with the predicted step; `changes` of the training section that it needs to fit."""

    mesh: Sizes
    compiled: Compiled
    prediction: Prediction
    changes: Changes

    @property
    def overrides(self) -> list[str]:
        """What to train with."""
        return as_overrides(self.mesh) + [f"training.{name}={value}" for name, value in self.changes.items()]


def fits(total: float, kind: DeviceKind) -> bool:
    """Whether so many bytes fit into a device's memory."""
    return total <= SPARE * kind.memory


def best(experiment: Experiment, state: TrainState, ladder: Ladder, devices: int, kind: DeviceKind) -> Choice | str:
    """The first rung of the ladder that fits on so many devices, on its best mesh; or why there is none."""
    held = [state_bytes(experiment, state, mesh) for mesh in candidates(experiment, devices)]
    known = [size for size in held if size is not None]
    if not known:
        return "no mesh divides batch and operator"
    if not fits(min(known), kind):
        return "the state does not fit"
    for changes, changed, alone in ladder:
        if choice := _choose(changed, state, alone, devices, kind, changes):
            return choice
    return "does not fit"


def _choose(
    experiment: Experiment, state: TrainState, alone: Compiled, devices: int, kind: DeviceKind, changes: Changes
) -> Choice | None:
    """The mesh with the shortest predicted step among those that fit; None where none does."""
    ranked: list[tuple[float, int, Sizes]] = []
    for mesh in candidates(experiment, devices):
        held = state_bytes(experiment, state, mesh)
        needs = alone.total if devices == 1 else held and estimated(state, alone, held, mesh)
        if needs is not None and fits(needs, kind):
            ranked.append((_seconds(state, alone, mesh, kind), len(ranked), mesh))
    for _, _, mesh in sorted(ranked)[:TRIES]:
        there = make_mesh(as_config(mesh), jax.devices()[:devices])
        compiled = alone if devices == 1 else compile_step(experiment, there)
        if fits(compiled.total, kind):
            prediction = predict(compiled.cost, kind, experiment.config.training.precision)
            return Choice(mesh, compiled, prediction, changes)
    return None


def estimated(state: TrainState, alone: Compiled, held: int, mesh: Sizes) -> float:
    """Bytes that a device would need: its state, its gradients, its share of the fields."""
    gradients = parameter_bytes(state)
    own = held / max(alone.state / gradients, 1.0)
    fields = max(alone.rest - gradients, 0)
    # Gradients and parameters put together for use are whole along fsdp, one layer at a time at best.
    return held + 2 * own + fields / math.prod(mesh.values())


def _seconds(state: TrainState, alone: Compiled, mesh: Sizes, kind: DeviceKind) -> float:
    """A first guess of a step, to rank meshes by: arithmetic and memory shared equally, the usual collectives."""
    devices, weights = math.prod(mesh.values()), parameter_bytes(state)
    own = weights // (mesh["member"] * mesh["model"])
    moved = [
        Collective(
            "all-reduce", own // mesh["fsdp"], mesh["data"], ("data",), mesh["fsdp"] * mesh["space"] * mesh["model"]
        )
    ]
    stride = mesh["space"] * mesh["model"]
    moved += [Collective("all-gather", own, mesh["fsdp"], ("fsdp",), stride)] * 2
    # What space and model exchange are modes and fields, some share of all that is kept for the gradient.
    share = int(alone.rest / (mesh["data"] * mesh["fsdp"] * mesh["member"]) / 4)
    moved += [Collective("all-reduce", share // 8, mesh["space"], ("space",), mesh["model"])]
    moved += [Collective("all-reduce", share, mesh["model"], ("model",), 1)]
    cost = Cost(
        alone.cost.flops / devices,
        alone.cost.bytes / devices,
        tuple(collective for collective in moved if collective.parts > 1),
    )
    return predict(cost, kind).step
