"""A model whose answers are known, for what needs no trained one: the inputs are the mean, and the noise is stated."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from pnol_jax.bases import GridOperands
from pnol_jax.predictive import Predictive
from pnol_jax.servable import AxisSignature, BasisSignature, Channel, Signature, write_servable

MODEL, POINTS, NOISE = "field", 64, 0.1
SIZE, ROUNDS = 256, 12  # of a matrix, and products of two of them in an answer: a few milliseconds of one core


def write(folder: Path, version: str, noise: float = NOISE) -> None:
    """A version that believes in this noise, unless it is there already."""
    if (folder / MODEL / version).exists():
        return
    signature = Signature(
        inputs=(Channel("state"),),
        outputs=(Channel("state"),),
        axes=(AxisSignature("x", "", "periodic", 1.0, BasisSignature("fourier", POINTS // 8)),),
        method="stated",
    )
    weights = {
        "noise": np.array([noise], np.float32),
        "matrix": np.eye(SIZE, dtype=np.float32),
        "share": np.zeros(1, np.float32),
    }
    case = np.sin(2 * np.pi * np.arange(POINTS) / POINTS, dtype=np.float32)[:, None]
    write_servable(
        folder,
        MODEL,
        version,
        predict=predict,
        weights=weights,
        signature=signature,
        buckets=[(POINTS,)],
        num_samples=0,
        tests=[(case, signature.uniform_grid([POINTS]))],
        calibration=None,
        provenance={},
    )


def predict(
    weights: dict[str, Any], inputs: jax.Array, grid: GridOperands, key: jax.Array, *, num_samples: int = 0
) -> Predictive:
    """The inputs, (batch, points, 1), after some work whose outcome has no share in them."""
    work = jax.lax.fori_loop(0, ROUNDS, lambda _, state: state @ weights["matrix"], weights["matrix"] + inputs[0, 0, 0])
    mean = inputs + weights["share"] * jnp.mean(work)
    return Predictive(mean, jnp.broadcast_to(weights["noise"] ** 2, mean.shape), jnp.zeros_like(mean))


def field(generator: np.random.Generator) -> NDArray[np.float32]:
    """Inputs that nobody asked before, (points, 1)."""
    return generator.standard_normal((POINTS, 1), np.float32)
