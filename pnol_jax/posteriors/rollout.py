"""Step models: the loss over several steps of a trajectory."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from pnol_jax import collectives
from pnol_jax.bases import GridOperands
from pnol_jax.posteriors.protocol import Batch, Metrics, Params

StepLoss = Callable[[Params, Batch, GridOperands], tuple[jax.Array, Metrics]]
StepMean = Callable[[Params, jax.Array, GridOperands], jax.Array]


def unrolled(
    step_loss: StepLoss,
    step_mean: StepMean,
    params: Params,
    batch: Batch,
    grid: GridOperands,
    key: jax.Array,
    pushforward: bool,
    noise: jax.Array,
) -> tuple[jax.Array, Metrics]:
    """The mean of a step model's loss over the steps of a trajectory, each from the model's own last state.

    inputs (batch, *space, state + static), outputs (batch, steps, *space, state). Against blow-up the first state may
    carry Gaussian noise of standard deviation `noise` per channel (Sanchez-Gonzalez et al. 2020); with `pushforward`
    no gradient passes from a step to the one before (Brandstetter, Worrall, Welling 2022).
    """
    channels = batch.outputs.shape[-1]
    state, static = batch.inputs[..., :channels], batch.inputs[..., channels:]
    state = state + noise * collectives.normal(key, state.shape, state.dtype)
    totals: list[jax.Array] = []
    figures: list[Metrics] = []
    for step in range(batch.outputs.shape[1]):
        inputs = jnp.concatenate([state, static], axis=-1)
        loss, metrics = step_loss(params, Batch(inputs, batch.outputs[:, step]), grid)
        totals.append(loss)
        figures.append(metrics)
        state = step_mean(params, inputs, grid)
        if pushforward:
            state = lax.stop_gradient(state)
    mean: Metrics = jax.tree.map(lambda *values: jnp.mean(jnp.stack(values)), *figures)
    return jnp.mean(jnp.stack(totals)), mean
