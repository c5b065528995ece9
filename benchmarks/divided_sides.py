"""The FNO of a benchmark size as training programs: compiled for a mesh of simulated devices, or run on one device."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from flax import nnx

from benchmarks.operator_sides import FFTConv
from benchmarks.peer_scripts.sizes import Size
from pnol_jax.bases import Basis, GridOperands, make_operands
from pnol_jax.config import MeshConfig, TrainingConfig
from pnol_jax.grids import Axis, Grid
from pnol_jax.operators import Functional, functional
from pnol_jax.operators.fno import FNO
from pnol_jax.optimizer_config import AdamWConfig
from pnol_jax.posterior_config import DeterministicConfig, EnsembleConfig
from pnol_jax.posteriors import Batch, Params, Posterior, build_posterior
from pnol_jax.sharding.divide import current_mesh
from pnol_jax.sharding.mesh import make_mesh, use
from pnol_jax.sharding.placement import WHOLE, BatchPlacement, grid_specs, placed
from pnol_jax.sharding.roofline import Cost, cost_of
from pnol_jax.training.optimizers import make_optimizer
from pnol_jax.training.step import initial_state, make_step

CHANNELS = ("inputs.mean", "inputs.std", "outputs.mean", "outputs.std")


@dataclass(frozen=True)
class Arguments:
    """What a training step is given, in its place on the mesh at hand."""

    constants: Params
    batch: Batch
    grid: GridOperands


def posterior(size: Size, members: int = 0, through_fft: bool = False, **training: Any) -> Posterior:
    """A mean by the FNO of this size, with a head for the noise; or so many. `training`: fields of a TrainingConfig."""
    settings = TrainingConfig(**training)
    bases = tuple(Basis("fourier", modes) for modes in size.modes)

    def build(channels: int, seed: int | None) -> Functional:
        def operator() -> FNO:
            made = FNO(1, channels, bases, width=size.width, remat=settings.remat, rngs=nnx.Rngs(seed or 0))
            if through_fft:
                for block in made.blocks:
                    block.spectral = FFTConv(size.width, size.width, bases, rngs=nnx.Rngs(0))
            return made

        return functional(nnx.eval_shape(operator) if seed is None else operator(), settings.remat)

    config = EnsembleConfig(members=members) if members else DeterministicConfig()
    return build_posterior(config, settings, build, 1)


def arguments(size: Size) -> Arguments:
    """A batch of zeros, which compiles as any other."""
    grid = make_operands(
        Grid(tuple(Axis.uniform(n) for n in size.points)), tuple(Basis("fourier", m) for m in size.modes)
    )
    place, zeros = BatchPlacement(size.batch), np.zeros((size.batch, *size.points, 1), np.float32)
    constants = {f"normaliser.{name}": np.ones(1, np.float32) for name in CHANNELS}
    batch = Batch(place.field(zeros), place.field(zeros))
    return Arguments(placed(constants, dict.fromkeys(constants, WHOLE)), batch, placed(grid, grid_specs(grid)))


def compiled_step(size: Size, mesh: MeshConfig, devices: int, members: int = 0, **training: Any) -> tuple[Any, Cost]:
    """The training step on a mesh, compiled, and what a device does in it."""
    source = posterior(size, members, **training)
    optimizer = make_optimizer(AdamWConfig(), 100, source.members)
    with use(make_mesh(mesh, jax.devices()[:devices])):
        given = arguments(size)
        state = initial_state(source, optimizer, 0, averaged=False)
        parts = training.get("accumulate", 1)
        compiled = (
            make_step(source, optimizer, 0.0, parts).lower(state, given.constants, given.batch, given.grid).compile()
        )
        return compiled, cost_of(compiled, current_mesh(), parts)


def training_step(size: Size, **training: Any) -> tuple[Callable[[], object], Any]:
    """A training step on one device that can be repeated, which returns when it is done; and the compiled program."""
    source, given = posterior(size, **training), arguments(size)
    optimizer = make_optimizer(AdamWConfig(), 10_000, source.members)
    step = make_step(source, optimizer, 0.0, training.get("accumulate", 1))
    state = initial_state(source, optimizer, 0, averaged=False)
    compiled = step.lower(state, given.constants, given.batch, given.grid).compile()

    def run() -> None:
        nonlocal state
        state, metrics = compiled(state, given.constants, given.batch, given.grid)
        jax.block_until_ready(metrics)  # type: ignore[no-untyped-call]

    return run, compiled
