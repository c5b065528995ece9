"""The heat equation on an interval with a posterior that knows its functionals: one amplitude that nobody is sure of.

u = (1 + spread z) solution + noise, z ~ N(0, 1), so that int w u dx has the mean m = int w solution dx and the variance
(spread m)^2 + noise^2 (int w dx)^2, if the noise is one number for the whole field.
"""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pnol_jax.bases import GridOperands
from pnol_jax.calculus import integral
from tests import heat

ALARM = {"false_alarm": 0.25, "cases": 40}


def functional(
    weights: dict[str, Any], inputs: jax.Array, grid: GridOperands, of: jax.Array
) -> tuple[jax.Array, jax.Array]:
    solution = heat.predict(weights, inputs, grid, jax.random.key(0)).mean
    mean, whole = (jnp.sum(integral(field, grid), axis=-1) for field in (of * solution, of))
    return mean, (weights["spread"][0] * mean) ** 2 + (weights["noise"][0] * whole) ** 2


def write(folder: Path, name: str = "exact", version: str = "1", **changes: Any) -> Path:
    """The servable NAME/VERSION: moments and functionals, an alarm at `ood` of 0.75 or more."""
    signature = heat.signature(1, ["moments", "functional"])
    return heat.write(
        folder, name, version, axes=1, signature=signature, functional=functional, **({"alarm": ALARM} | changes)
    )


def known(weights: Any, quadrature: Any, solution: Any) -> tuple[Any, Any]:
    """Mean and deviation of functionals (functionals, n, 1) of solutions (cases, n, 1): (cases, functionals) each."""
    shares = (weights * quadrature[:, None])[..., 0]
    mean = solution[..., 0] @ shares.T
    return mean, np.hypot(heat.SPREAD * mean, heat.NOISE * shares.sum(axis=1))
