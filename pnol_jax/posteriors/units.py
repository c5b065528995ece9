"""Fields in physical units and normalised ones, by the constants that travel with the parameters."""

import jax

from pnol_jax.posteriors.protocol import NORMALISER, Params


def normal_inputs(params: Params, inputs: jax.Array) -> jax.Array:
    """Inputs in physical units, (..., in), normalised."""
    normal: jax.Array = (inputs - params[NORMALISER + "inputs.mean"]) / params[NORMALISER + "inputs.std"]
    return normal


def normal_outputs(params: Params, outputs: jax.Array) -> jax.Array:
    """Outputs in physical units, (..., out), normalised."""
    normal: jax.Array = (outputs - params[NORMALISER + "outputs.mean"]) / params[NORMALISER + "outputs.std"]
    return normal


def physical(params: Params, normal: jax.Array) -> jax.Array:
    """Normalised outputs, (..., out), in physical units."""
    return normal * params[NORMALISER + "outputs.std"] + params[NORMALISER + "outputs.mean"]
