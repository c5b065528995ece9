"""The heat equation with a source as a step model, each draw of which keeps a conductivity of its own."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from pnol_jax import collectives
from pnol_jax.bases import GridOperands, stack_operands
from pnol_jax.posteriors.march import march
from pnol_jax.predictive import Predictive
from pnol_jax.servable import Answers, Channel, Signature
from tests import heat

TIME_STEP, SPREAD, GAIN = 0.5, 0.3, -0.1
ANSWERS: tuple[Answers, ...] = ("moments", "step", "jvp", "vjp")


def predict(
    weights: dict[str, Any], inputs: jax.Array, grid: GridOperands, key: jax.Array, *, num_samples: int = 0
) -> Predictive:
    """The heat kernel on the state and the source together, and a little of its cube, so that it is not linear."""
    one = heat.predict(weights, inputs[..., :1] + inputs[..., 1:], grid, key, num_samples=num_samples)
    mean = one.mean + GAIN * one.mean**3
    samples = None if one.samples is None else one.samples - one.mean + mean
    return Predictive(mean, one.aleatoric, one.epistemic, samples, figures=one.figures)


class Posterior:
    """What `march` asks of a posterior."""

    has_samples = True

    def predict(
        self, params: dict[str, Any], inputs: jax.Array, grid: GridOperands, key: jax.Array, num_samples: int = 0
    ) -> Predictive:
        return predict(params, inputs, grid, key, num_samples=num_samples)

    def advance(
        self, params: dict[str, Any], inputs: jax.Array, grid: GridOperands, function: jax.Array, noise: jax.Array
    ) -> jax.Array:
        draws = inputs.shape[0]
        own = 1 + SPREAD * jax.random.normal(function, (draws,))

        def one(inputs: jax.Array, factor: jax.Array, key: jax.Array) -> jax.Array:
            mean = predict(params, inputs, grid, key).mean
            return factor * mean + params["noise"] * collectives.normal(key, mean.shape, mean.dtype)

        return jax.vmap(one)(inputs, own, jax.random.split(noise, draws))


def signature(axes: int, answers: Sequence[Answers] = ANSWERS) -> Signature:
    one = heat.signature(axes)
    inputs = (*one.outputs, Channel("source", "K"))
    return structs.replace(one, inputs=inputs, answers=tuple(answers), time_step=TIME_STEP)


def first(*shape: int) -> NDArray[np.float32]:
    """A first state and a source, (*space, 2)."""
    grid = heat.grid(*shape)
    waves = [heat.wave(grid, *pair[: len(shape)])[0] for pair in ((1, 2, 1), (2, 1, 2))]
    return np.concatenate([waves[0], np.float32(0.1) * waves[1]], axis=-1)


def write(folder: Path, name: str = "march", *, axes: int = 1, **changes: Any) -> Path:
    """A servable of it, whose bucket pads."""
    shape = (13, 11)[:axes]
    arguments: dict[str, Any] = {
        "predict": predict,
        "advance": Posterior().advance,
        "signature": signature(axes),
        "buckets": [(16,) * axes],
        "tests": [(first(*shape), heat.grid(*shape))],
        "calibration": None,
    }
    return heat.write(folder, name, axes=axes, **(arguments | changes))


def marched(inputs: Any, grid: GridOperands, seed: int, case: int, steps: int) -> NDArray[np.float32]:
    """The library's own states of a case, (steps, draws, *space, 1): inputs (*space, 2), operands without cases."""
    key = jax.random.wrap_key_data(jnp.asarray([seed, case], jnp.uint32), impl="threefry2x32")
    params: Any = heat.weights(len(grid.axes))
    posterior: Any = Posterior()

    @jax.jit
    def run(inputs: jax.Array, grid: GridOperands) -> jax.Array:
        return march(posterior, params, inputs, grid, key, steps, heat.NUM_SAMPLES)[:, :, 0]  # type: ignore[no-any-return]

    return np.asarray(run(jnp.asarray(inputs)[None], stack_operands([grid])))
