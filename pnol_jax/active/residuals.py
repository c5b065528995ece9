"""How far a predicted field is from solving its equation: an error that needs no simulation."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from pnol_jax.bases import GridOperands
from pnol_jax.calculus import derivative
from pnol_jax.errors import InputError
from pnol_jax.predictive import Predictive
from pnol_jax.scores.measure import field_mean

Residual = Callable[[jax.Array, jax.Array, GridOperands], jax.Array]


def darcy(inputs: jax.Array, outputs: jax.Array, grid: GridOperands) -> jax.Array:
    """div(a grad u) + 1 of permeability a and pressure u, (batch, *space, 1).

    Derivatives are of projections onto the operator's bases, so that a jump of the permeability is seen as smoothed:
    between cases of one kind the residual ranks, by itself it says little.
    """
    flux = sum(
        derivative(inputs[..., :1] * derivative(outputs[..., :1], grid, axis), grid, axis)
        for axis in range(len(grid.axes))
    )
    return jnp.asarray(flux) + 1.0


EQUATIONS: Mapping[str, Residual] = {"darcy": darcy}


def residual_norm(predictive: Predictive, inputs: jax.Array, grid: GridOperands, equation: str | Residual) -> jax.Array:
    """The root mean square of the residual of the predicted mean, (batch,), in the unit of the equation.

    Args:
        predictive: its mean, (batch, *space, channels).
        inputs: (batch, *space, channels).
        grid: the operands of the grid.
        equation: a name of EQUATIONS, or a residual (inputs, outputs, grid) -> field.

    Raises:
        InputError: an unknown name.
    """
    if isinstance(equation, str):
        if equation not in EQUATIONS:
            raise InputError(f"equation: got {equation!r}, expected one of {', '.join(EQUATIONS)}")
        equation = EQUATIONS[equation]
    return jnp.sqrt(field_mean(jnp.square(equation(inputs, predictive.mean, grid)), grid.weights()))
