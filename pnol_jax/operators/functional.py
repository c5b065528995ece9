"""An operator as a pure function of a flat dict of parameters."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from flax import nnx

from pnol_jax.bases import GridOperands

Params = dict[str, jax.Array]
Apply = Callable[[Params, jax.Array, GridOperands], jax.Array]


class Functional(NamedTuple):
    """`apply(params, inputs, grid)`, its parameters by dotted name, and each parameter's logical axis names.

    inputs (batch, *space, in) -> outputs (batch, *space, out); pure, so `jit`, `vmap` and `grad` apply.
    """

    params: Params
    axes: dict[str, tuple[str | None, ...]]
    apply: Apply


def functional(module: nnx.Module) -> Functional:
    """Take an operator apart into parameters and a pure function of them."""
    graph, state = nnx.split(module, graph=False)
    flat: list[tuple[tuple[Any, ...], Any]] = list(nnx.to_flat_state(state))
    names = [".".join(map(str, path)) for path, _ in flat]
    variables = [variable for _, variable in flat]

    def apply(params: Params, inputs: jax.Array, grid: GridOperands) -> jax.Array:
        values = [variable.replace(params[name]) for name, variable in zip(names, variables, strict=True)]
        restored = nnx.from_flat_state(list(zip([path for path, _ in flat], values, strict=True)))
        operator: Any = nnx.merge(graph, restored)
        outputs: jax.Array = operator(inputs, grid)
        return outputs

    return Functional(
        params={name: variable[...] for name, variable in zip(names, variables, strict=True)},
        axes={name: variable.get_metadata()["axes"] for name, variable in zip(names, variables, strict=True)},
        apply=apply,
    )
