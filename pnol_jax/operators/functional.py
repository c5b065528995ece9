"""An operator as a pure function of a flat dict of parameters."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from flax import nnx
from jax.ad_checkpoint import checkpoint_name

from pnol_jax import collectives
from pnol_jax.bases import GridOperands
from pnol_jax.collectives import CASES, FSDP
from pnol_jax.operators import rematerialise
from pnol_jax.operators.rematerialise import Remat
from pnol_jax.sharding.partition import Axes, stored

Params = dict[str, jax.Array]
Apply = Callable[[Params, jax.Array, GridOperands], jax.Array]
PROJECTION = "projection.*"  # the layers after the last that mixes points, by name, of operators that have any


class Functional(NamedTuple):
    """`apply(params, inputs, grid)`, its parameters by dotted name, and each parameter's logical axis names.

    inputs (batch, *space, in) -> outputs (batch, *space, out); pure, so `jit`, `vmap` and `grad` apply. Of a module
    made by `nnx.eval_shape` the parameters are shapes only. `last_layer` names the parameters in which the outputs are
    linear, if the operator says so.
    """

    params: Params
    axes: dict[str, Axes]
    apply: Apply
    last_layer: tuple[str, ...] = ()


def functional(module: nnx.Module, remat: Remat = "none") -> Functional:
    """Take an operator apart into parameters and a pure function of them; `remat` as its layers have it."""
    graph, state = nnx.split(module, graph=False)
    flat: list[tuple[tuple[Any, ...], Any]] = list(nnx.to_flat_state(state))
    names = [".".join(map(str, path)) for path, _ in flat]
    variables = [variable for _, variable in flat]
    axes: dict[str, Axes] = {
        name: variable.get_metadata()["axes"] for name, variable in zip(names, variables, strict=True)
    }
    for name, variable in zip(names, variables, strict=True):
        variable.set_metadata(parameter=name)  # by which a layer names its random draws

    def apply(params: Params, inputs: jax.Array, grid: GridOperands) -> jax.Array:
        whole = {name: ready(params[name], axes[name]) for name in names}
        values = [variable.replace(whole[name]) for name, variable in zip(names, variables, strict=True)]
        restored = nnx.from_flat_state(list(zip([path for path, _ in flat], values, strict=True)))
        operator: Any = nnx.merge(graph, restored)
        outputs: jax.Array = operator(inputs, grid)
        return outputs

    return Functional(
        params={name: variable.get_value() for name, variable in zip(names, variables, strict=True)},
        axes=axes,
        apply=rematerialise.operator(apply, remat),
        last_layer=tuple(getattr(module, "last_layer", ())),
    )


def ready(parameter: jax.Array, axes: Axes) -> jax.Array:
    """Put together what is divided in storage only, of any shape.

    The gradient is added up over the batch's parts here, where it is as small as the parameter, and not in the midst of
    a layer; what is divided in storage is divided again before it is added up over the other axes.
    """
    own, dimension = collectives.varying(parameter, CASES), stored(axes)
    if dimension is None:
        return own
    put_together = collectives.gathered(own, (FSDP,), dimension)
    whole: jax.Array = checkpoint_name(put_together, rematerialise.GATHERED)  # type: ignore[no-untyped-call]
    return whole
