"""Dynamic loss scaling, without which small gradients vanish in float16 (Micikevicius et al. 2018, section 3.2).

The loss is multiplied by a power of two before it is differentiated; the gradient of the parameters, which are in
float32, is divided by it again, which rounds nothing. The scale is as large as it can be: it is doubled after so many
steps without an overflow and halved at each, whose step is left out. An overflow is a gradient that is not finite where
the loss is: a loss that is not finite itself is so with any scale.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

FIRST, FLOOR, CEILING = 2.0**15, 1.0, 2.0**24
PATIENCE = 1000  # steps without an overflow before the scale is doubled


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LossScale:
    """The scale, (), and the steps without an overflow since it last changed, ()."""

    scale: jax.Array
    steps: jax.Array

    def after(self, overflow: jax.Array) -> "LossScale":
        """What the next step has, after one with or without an overflow."""
        patient = self.steps + 1 < PATIENCE
        larger = jnp.minimum(2 * self.scale, CEILING)
        smaller = jnp.maximum(self.scale / 2, FLOOR)
        return LossScale(
            scale=jnp.where(overflow, smaller, jnp.where(patient, self.scale, larger)),
            steps=jnp.where(overflow | ~patient, 0, self.steps + 1),
        )


def first_scale() -> LossScale:
    """That of the first step."""
    return LossScale(jnp.asarray(FIRST, jnp.float32), jnp.zeros((), jnp.int32))
