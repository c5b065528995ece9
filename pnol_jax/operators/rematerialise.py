"""What a layer keeps for its gradient, and what is computed again: memory against time.

"none" keeps everything; "dots" keeps the results of matrix products and computes again what is cheap; "block" keeps a
block's input alone; "full" does the same for lifting and projection, whose hidden fields are the widest.
"""

from collections.abc import Callable
from typing import Any, Literal, ParamSpec, TypeVar

import jax

from pnol_jax import collectives
from pnol_jax.operators import stochastic

Remat = Literal["none", "dots", "block", "full"]
GATHERED = "gathered"  # the name of parameters that were put together from their stored parts
P = ParamSpec("P")
R = TypeVar("R")


def block(layer: Callable[..., jax.Array], policy: Remat) -> Callable[..., jax.Array]:
    """A block of an operator, a function of rows, (..., channels), and what needs no gradient, under a policy."""
    match policy:
        case "none":
            return layer
        case "dots":
            return _kept(layer, jax.checkpoint_policies.dots_saveable)
    return _again(layer)


def end(layer: Callable[..., jax.Array], policy: Remat) -> Callable[..., jax.Array]:
    """Lifting or projection, (rows, in) -> (rows, out), under a policy."""
    return _again(layer) if policy == "full" else layer


def operator(apply: Callable[P, R], policy: Remat) -> Callable[P, R]:
    """The whole operator: parameters that a mesh stores divided are put together again rather than kept.

    Elsewhere nothing is wrapped: `jax.checkpoint` would keep a second copy of every kernel, rounded to its own type.
    It remembers how a function is traced, with what is random in it; so each call wraps a function of its own.
    """
    if policy == "none":
        return apply
    keep = jax.checkpoint_policies.save_anything_except_these_names(GATHERED)

    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        if collectives.count((collectives.FSDP,)) == 1:
            return apply(*args, **kwargs)

        def here(*args: P.args, **kwargs: P.kwargs) -> R:
            return apply(*args, **kwargs)

        return _kept(here, keep)(*args, **kwargs)

    return wrapped


def _kept(layer: Callable[P, R], policy: Callable[..., bool]) -> Callable[P, R]:
    wrapped: Callable[P, R] = jax.checkpoint(layer, policy=policy)
    return wrapped


def _again(layer: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """The layer, of which only the inputs are kept.

    `jax.checkpoint` shields what is computed again by optimisation barriers, which XLA's CPU compiler takes away before
    it looks for what is computed twice. Here the second computation hangs on the gradient that comes in, by adding zero
    times a number of it, so that no compiler can take it for the first, nor do it before its time. The key of what is
    random in the layer is handed in, since a function with a derivative of its own must not close over it.
    """

    def wrapped(rows: jax.Array, *others: Any) -> jax.Array:
        # The gradient that comes in may differ along axes of a mesh along which the rows do not, as before lifting.
        rows = collectives.varying(rows, collectives.EVERY)
        random = stochastic.key_at_hand()

        def keyed(rows: jax.Array, random: jax.Array | None) -> jax.Array:
            with stochastic.with_key(random):
                return layer(rows, *others)

        pure, weights = jax.closure_convert(keyed, rows, random)

        @jax.custom_vjp
        def run(rows: jax.Array, weights: list[jax.Array], random: jax.Array | None) -> jax.Array:
            out: jax.Array = pure(rows, random, *weights)
            return out

        def forward(rows: jax.Array, weights: list[jax.Array], random: jax.Array | None) -> tuple[jax.Array, Any]:
            return run(rows, weights, random), (rows, weights, random)

        def backward(kept: Any, gradient: jax.Array) -> Any:
            rows, weights, random = kept
            late = rows + (0 * gradient.ravel()[0]).astype(rows.dtype)
            return *jax.vjp(lambda rows, weights: pure(rows, random, *weights), late, weights)[1](gradient), None

        run.defvjp(forward, backward)
        return run(rows, weights, random)

    return wrapped
