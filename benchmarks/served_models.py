"""The models that the serving benchmarks serve: Fourier neural operators with drawn weights, and one that does nothing.

What is timed does not depend on what the weights are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from pnol_jax.bases import Basis, GridOperands
from pnol_jax.grids import Axis, Grid
from pnol_jax.operators import functional
from pnol_jax.operators.fno import FNO
from pnol_jax.predictive import Predictive
from pnol_jax.servable import Answers, AxisSignature, BasisSignature, Channel, Signature, write_servable


@dataclass(frozen=True)
class Served:
    """A model to serve: the FNO's width and modes (none: the identity), its bucket, the grids and answers asked for."""

    bucket: int
    width: int = 0
    modes: int = 4
    points: tuple[int, ...] = ()
    answers: tuple[Answers, ...] = ("moments",)

    @property
    def draws(self) -> int | None:
        """Of a step model, how many it marches."""
        return DRAWS if "step" in self.answers else None

    @property
    def asked(self) -> tuple[int, ...]:
        """Points per axis of the fields that are sent."""
        return self.points or (self.bucket,)


DRAWS = 2
SERVED = {
    "identity": Served(64),
    "cached": Served(64),
    "marching": Served(16, answers=("moments", "step", "jvp", "vjp")),
    "small": Served(32, width=16, modes=8),
    "medium": Served(64, width=32, modes=12),
    "mixed": Served(64, width=32, modes=12, points=(30, 36, 40, 45, 50, 57, 60, 64)),
}


def write(folder: Path, names: Sequence[str]) -> None:
    """Write NAME/1 of each name into a folder."""
    for name in names:
        served = SERVED[name]
        predict, weights = model(served)
        grid = Grid((Axis.uniform(served.bucket),) * 2)
        field = np.random.default_rng(0).standard_normal((*grid.shape, 1)).astype(np.float32)
        write_servable(
            folder,
            name,
            "1",
            predict=predict,
            weights=weights,
            signature=signature(served),
            buckets=[(served.bucket,) * 2],
            num_samples=served.draws or 1,
            advance=_standing if served.draws else None,
            tests=[(field, grid)],
            calibration=None,
            provenance={},
        )


def signature(served: Served) -> Signature:
    """One channel in and out, on the periodic unit square."""
    basis = BasisSignature("fourier", served.modes)
    return Signature(
        inputs=(Channel("u" if served.draws else "a", ""),),
        outputs=(Channel("u", ""),),
        axes=tuple(AxisSignature(axis, "", "periodic", 1.0, basis) for axis in "xy"),
        method="benchmark",
        answers=served.answers,
        time_step=1.0 if served.draws else None,
    )


def model(served: Served) -> tuple[Any, dict[str, Any]]:
    """Its predict and weights."""
    noise = {"noise": np.float32([0.1])}
    if not served.width:
        return lambda weights, inputs, grid, key, num_samples=0: _said(weights, inputs), noise
    bases = (Basis("fourier", served.modes),) * 2
    operator = functional(FNO(1, 1, bases, width=served.width, depth=4, rngs=nnx.Rngs(0)))

    def predict(
        weights: dict[str, Any], inputs: jax.Array, grid: GridOperands, key: jax.Array, num_samples: int = 0
    ) -> Predictive:
        return _said(weights, operator.apply(weights, inputs, grid))

    return predict, dict(operator.params) | noise


def _standing(weights: Any, inputs: jax.Array, grid: GridOperands, function: jax.Array, noise: jax.Array) -> jax.Array:
    """The step of a state that stays as it is."""
    return inputs


def _said(weights: dict[str, Any], mean: jax.Array) -> Predictive:
    spread = jnp.broadcast_to(jnp.square(weights["noise"]), mean.shape)
    return Predictive(mean, spread, jnp.zeros_like(mean))
