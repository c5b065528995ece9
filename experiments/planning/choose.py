"""The best mesh of a number of devices: by estimates among all, then compiled."""

import math
from dataclasses import dataclass

import jax

from experiments.experiment import Experiment
from experiments.planning.abstract import Compiled, compile_step
from experiments.planning.meshes import Sizes, as_config, candidates, parameter_bytes, state_bytes
from pnol_jax.sharding.mesh import make_mesh
from pnol_jax.sharding.roofline import Cost, DeviceKind, Prediction, predict
from pnol_jax.sharding.traffic import Collective
from pnol_jax.training.step import TrainState

SPARE = 0.9  # of a device's memory; the rest is the allocator's and the libraries'
TRIES = 3  # meshes that are compiled before a number of devices is given up


@dataclass(frozen=True)
class Choice:
    """A mesh, compiled, with the predicted step."""

    mesh: Sizes
    compiled: Compiled
    prediction: Prediction


def fits(total: float, kind: DeviceKind) -> bool:
    """Whether so many bytes fit into a device's memory."""
    return total <= SPARE * kind.memory


def choose(experiment: Experiment, state: TrainState, alone: Compiled, devices: int, kind: DeviceKind) -> Choice | None:
    """The mesh with the shortest predicted step among those that fit; None where none does."""
    ranked: list[tuple[float, int, Sizes]] = []
    for mesh in candidates(experiment, devices):
        held = state_bytes(experiment, state, mesh)
        if held is not None and fits(estimated(state, alone, held, mesh), kind):
            ranked.append((_seconds(state, alone, mesh, kind), len(ranked), mesh))
    for _, _, mesh in sorted(ranked)[:TRIES]:
        compiled = compile_step(experiment, make_mesh(as_config(mesh), jax.devices()[:devices]))
        if fits(compiled.total, kind):
            return Choice(mesh, compiled, predict(compiled.cost, kind, experiment.config.training.precision))
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
