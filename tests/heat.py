"""A model whose answers are known: the heat equation on a periodic square or interval, solved mode by mode.

u_t = nu Laplace(u): a wave of angular wave number k decays by exp(-nu |k|^2 t). The step to time t is a program with
weights, so that a servable can be made of it without training anything.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from pnol_jax.bases import GridOperands
from pnol_jax.grids import Axis, Grid
from pnol_jax.predictive import Predictive
from pnol_jax.servable import AxisSignature, BasisSignature, Channel, Figure, Signature, write_servable

MODES, LENGTH, NU_T = 8, 2.0, 0.01
NOISE, SPREAD, BAND, LEVEL, NUM_SAMPLES = 0.1, 0.2, 0.3, 0.9, 6
CALIBRATION = {"level": LEVEL, "kind": "simultaneous", "cases": 100}


def angular(wave: int) -> float:
    return 2 * np.pi * wave / LENGTH


def weights(axes: int) -> dict[str, NDArray[np.float32]]:
    k = angular(1) * np.arange(MODES // 2 + 1)
    decay = np.exp(-NU_T * np.concatenate([k, k]) ** 2).astype(np.float32)
    return {f"decay.{axis}": decay for axis in range(axes)} | {
        "noise": np.float32([NOISE]),
        "spread": np.float32([SPREAD]),
    }


def predict(
    weights: dict[str, Any], inputs: jax.Array, grid: GridOperands, key: jax.Array, *, num_samples: int = 0
) -> Predictive:
    """The mean is the solution, on the channel; noise is constant, the epistemic deviation a share of the mean."""
    field = inputs
    for i, axis in enumerate(grid.axes):
        step = jnp.einsum("bnk,k,bmk->bnm", axis.analysis, weights[f"decay.{i}"], axis.synthesis)
        field = jnp.moveaxis(jnp.einsum("bn...,bnm->bm...", jnp.moveaxis(field, i + 1, 1), step), 1, i + 1)
    samples = None
    if num_samples:
        noise = jax.random.normal(key, (num_samples, *field.shape))
        samples = field + weights["noise"] * noise
    return Predictive(
        mean=field,
        aleatoric=jnp.broadcast_to(weights["noise"] ** 2, field.shape),
        epistemic=(weights["spread"] * field) ** 2,
        samples=samples,
        lower=field - BAND,
        upper=field + BAND,
        figures=None if num_samples else {"ood": energy(field, grid)},
    )


def energy(field: jax.Array, grid: GridOperands) -> jax.Array:
    """A figure of each case: the integral of the square of the solution, (batch,)."""
    return jnp.sum(grid.weights()[..., None] * field**2, axis=tuple(range(1, field.ndim)))


def uncalibrated(*arguments: Any, **keywords: Any) -> Predictive:
    full = predict(*arguments, **keywords)
    return Predictive(full.mean, full.aleatoric, full.epistemic, figures=full.figures)


def signature(axes: int, answers: Sequence[str] = ("moments", "samples")) -> Signature:
    basis = BasisSignature("fourier", MODES)
    names = ("x", "y", "z")[:axes]
    return Signature(
        inputs=(Channel("initial temperature", "K"),),
        outputs=(Channel("temperature", "K"),),
        axes=tuple(AxisSignature(name, "m", "periodic", LENGTH, basis) for name in names),
        method="heat kernel",
        answers=tuple(answers),  # type: ignore[arg-type]
        figures=(Figure("ood", scale=LENGTH**axes),),
    )


def grid(*shape: int) -> Grid:
    return Grid(tuple(Axis.uniform(n, "periodic", LENGTH) for n in shape))


def wave(where: Grid, *waves: int) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """A product of sines on a grid, (*space, 1), and its solution at time t."""
    factors = [np.sin(angular(k) * axis.points + 0.3) for k, axis in zip(waves, where.axes, strict=True)]
    field = factors[0]
    for factor in factors[1:]:
        field = np.multiply.outer(field, factor)
    decay = np.exp(-NU_T * sum(angular(k) ** 2 for k in waves))
    return field[..., None].astype(np.float32), decay * field[..., None]


def write(folder: Path, name: str = "heat", version: str = "1", *, axes: int = 2, **changes: Any) -> Path:
    """A servable of the model; `changes` replace arguments of `write_servable`."""
    sizes = [(12, 12), (20, 24)] if axes == 2 else [(16,) * axes]
    shape = (11, 12, 13)[:axes]
    where = grid(*shape)
    arguments: dict[str, Any] = {
        "predict": predict,
        "weights": weights(axes),
        "signature": signature(axes),
        "buckets": sizes,
        "num_samples": NUM_SAMPLES,
        "tests": [(wave(where, *range(1, axes + 1))[0], where)],
        "calibration": CALIBRATION,
        "provenance": {"equation": "heat"},
    }
    return write_servable(folder, name, version, **(arguments | changes))
