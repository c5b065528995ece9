"""The program for one step of a trajectory's draws, so that whoever asks it again and again has a rollout."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from pnol_jax.bases import GridOperands
from pnol_jax.precision import exact
from pnol_jax.servable.program import Arrays, unflatten_operands

# One step from many states at once, each draw with a function of its own, as `pnol_jax.posteriors.march` has it:
# weights, inputs (draws, batch, *space, in), operands, keys of functions and noise -> (draws, batch, *space, out).
Advance = Callable[[Arrays, jax.Array, GridOperands, jax.Array, jax.Array], jax.Array]


def stepping(advance: Advance) -> Callable[..., Arrays]:
    """The program of "step": draws by the keys that `pnol_jax.posteriors.march.march` has at that step, case by case.

    What a draw keeps along a trajectory follows from the trajectory's key, so that nothing but states is handed on.
    """

    def one(weights: Arrays, inputs: jax.Array, operands: Arrays, key: jax.Array, states: jax.Array) -> Arrays:
        grid = unflatten_operands({name: leaf[None] for name, leaf in operands.items()})
        function, noise = jax.random.split(jax.random.wrap_key_data(key[:2], impl="threefry2x32"))
        static = inputs[..., states.shape[-1] :]
        spread = jnp.broadcast_to(static, (*states.shape[:-1], static.shape[-1]))
        here = jnp.concatenate([states, spread], axis=-1)[:, None]
        with exact():
            after = advance(weights, here, grid, function, jax.random.fold_in(noise, key[2]))
        after = after[:, 0].astype(np.float32)
        return {
            "states": after,
            "states.mean": jnp.mean(after, axis=0),
            "states.std": jnp.std(after, axis=0, ddof=1),
        }

    def program(weights: Arrays, inputs: jax.Array, operands: Arrays, keys: jax.Array, states: jax.Array) -> Arrays:
        stepped: Arrays = jax.vmap(one, in_axes=(None, 0, 0, 0, 0))(weights, inputs, operands, keys, states)
        return stepped

    return program
