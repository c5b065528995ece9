"""The training step of an experiment on a mesh, compiled from shapes: nothing is allocated and nothing runs."""

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from experiments.experiment import Experiment, with_training
from experiments.planning.meshes import Array
from pnol_jax.bases import GridOperands
from pnol_jax.data.buckets import make_buckets
from pnol_jax.posteriors import Batch, Params
from pnol_jax.posteriors.protocol import NORMALISER
from pnol_jax.sharding.divide import Specs, current_mesh
from pnol_jax.sharding.mesh import use
from pnol_jax.sharding.partition import shardings
from pnol_jax.sharding.placement import WHOLE, field_spec, grid_specs, space_parts
from pnol_jax.sharding.roofline import Cost, cost_of
from pnol_jax.training.optimizers import make_optimizer
from pnol_jax.training.step import TrainState, fresh_state, make_step, state_specs


@dataclass(frozen=True)
class Compiled:
    """What a device holds, bytes: `state` from step to step, `rest` within one (batch, gradients, fields); and does."""

    state: int
    rest: int
    cost: Cost

    @property
    def total(self) -> int:
        """Bytes at the peak of a step."""
        return self.state + self.rest


def abstract_state(experiment: Experiment) -> TrainState:
    """The training state as shapes."""
    settings = experiment.config.training
    optimizer = make_optimizer(experiment.config.optimizer, settings.steps, experiment.posterior.members)
    state: TrainState = jax.eval_shape(
        lambda: fresh_state(
            experiment.posterior, optimizer, settings.seed, settings.ema > 0, settings.precision == "float16"
        )
    )
    return state


def compile_step(experiment: Experiment, mesh: Mesh) -> Compiled:
    """Compile the step for a mesh of simulated devices."""
    config = experiment.config
    optimizer = make_optimizer(config.optimizer, config.training.steps, experiment.posterior.members)
    step = make_step(experiment.posterior, optimizer, config.training.ema, config.training.accumulate)
    state = abstract_state(experiment)
    with use(mesh):
        held = _there(state, state_specs(state, experiment.posterior, mesh))
        compiled = step.lower(held, *_given(experiment)).compile()
        memory, cost = compiled.memory_analysis(), cost_of(compiled, current_mesh(), config.training.accumulate)
    inside = memory.argument_size_in_bytes - memory.alias_size_in_bytes + memory.temp_size_in_bytes
    return Compiled(memory.alias_size_in_bytes, inside, cost)


def kept(experiment: Experiment) -> list[Array]:
    """What one device keeps of a step's forward pass for the backward one, equal arrays together, without parameters.

    Before XLA: it may keep less, where it computes something again, and adds what it needs for a moment.
    """
    training = experiment.config.training
    part = with_training(experiment, {"batch_size": training.batch_size // training.accumulate, "accumulate": 1})
    params, constants = abstract_state(experiment).params, _given(part)

    def residuals(params: Params, constants: Params, batch: Batch, grid: GridOperands) -> Any:
        key = jax.random.key(0)
        return jax.vjp(lambda params: experiment.posterior.loss(params | constants, batch, grid, key)[0], params)[1]

    found = jax.tree.leaves(jax.eval_shape(residuals, params, *constants))
    own = {leaf.shape for leaf in params.values()}
    counts = Counter((leaf.shape, leaf.dtype.itemsize) for leaf in found if leaf.shape not in own)
    return [Array("", shape, size * math.prod(shape), number) for (shape, size), number in counts.items()]


def _given(experiment: Experiment) -> tuple[Any, Batch, GridOperands]:
    """Constants, batch and grid: those of the largest bucket that training uses."""
    config = experiment.config
    dtype = experiment.train.dtype
    buckets = make_buckets(experiment.train, experiment.bases, experiment.buckets, space_parts())
    bucket = max(buckets, key=lambda bucket: math.prod(bucket.shape))
    size, padded = config.training.batch_size, bucket.shape
    operands: GridOperands = jax.tree.map(_shape, bucket.operands_for(np.zeros(size, np.intp)))
    channels = (experiment.train.input_channels, experiment.train.output_channels)
    steps = (config.training.unroll,) if experiment.train.trajectories else ()

    def numbers(*shape: int) -> Any:
        return jax.ShapeDtypeStruct(shape, dtype)  # type: ignore[no-untyped-call]

    batch = Batch(numbers(size, *padded, channels[0]), numbers(size, *steps, *padded, channels[1]))
    widths = zip(("inputs", "outputs"), channels, strict=True)
    constants = {f"{NORMALISER}{side}.{what}": numbers(n) for side, n in widths for what in ("mean", "std")}
    fields = Batch(*(_there(leaf, field_spec(leaf.ndim)) for leaf in batch))
    return _there(constants, dict.fromkeys(constants, WHOLE)), fields, _there(operands, grid_specs(operands))


def _there(shapes: Any, specs: Specs) -> Any:
    mesh = current_mesh()
    if mesh is None:
        return shapes
    return jax.tree.map(lambda leaf, place: _shape(leaf, place), shapes, shardings(mesh, specs))


def _shape(leaf: Any, place: Any = None) -> Any:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place)  # type: ignore[no-untyped-call]
