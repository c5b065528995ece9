"""The programs for products with the Jacobian of the mean in the inputs, for whoever designs inputs by gradients.

All is in physical units, the normaliser included, and a product is a plain sum over points and channels: a cotangent is
the gradient of an objective in the values of the mean, and of an integral it has the quadrature weights in it. Padding
takes no part, since the mean at a grid's own points depends on nothing else.
"""

from collections.abc import Callable

import jax
import numpy as np

from pnol_jax.precision import exact
from pnol_jax.servable.program import Arrays, Predict, unflatten_operands


def jvp(predict: Predict) -> Callable[..., Arrays]:
    """The program for the mean, and its derivative along a tangent of the inputs (forward mode)."""

    def program(weights: Arrays, inputs: jax.Array, operands: Arrays, tangents: jax.Array) -> Arrays:
        with exact():
            mean, product = jax.jvp(_mean(predict, weights, operands), (inputs,), (tangents,))
        return {"mean": mean, "jvp": product}

    return program


def vjp(predict: Predict) -> Callable[..., Arrays]:
    """The program for the mean, and the gradient in the inputs of its product with a cotangent (reverse mode)."""

    def program(weights: Arrays, inputs: jax.Array, operands: Arrays, cotangents: jax.Array) -> Arrays:
        with exact():
            mean, pull = jax.vjp(_mean(predict, weights, operands), inputs)
            (product,) = pull(cotangents)
        return {"mean": mean, "vjp": product}

    return program


def _mean(predict: Predict, weights: Arrays, operands: Arrays) -> Callable[[jax.Array], jax.Array]:
    """The mean as the moments have it, by the same key."""

    def mean(inputs: jax.Array) -> jax.Array:
        key = jax.random.key(0, impl="threefry2x32")
        return predict(weights, inputs, unflatten_operands(operands), key).mean.astype(np.float32)

    return mean
