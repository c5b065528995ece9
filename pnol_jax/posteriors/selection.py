"""Fewer components of a mixture, such as members or heads: chosen one after the other by what the mixture then loses.

Source: Caruana, Niculescu-Mizil, Crew, Ksikes (2004), Ensemble selection from libraries of models, Section 2; without
replacement, since a component that counts twice would have to be stored twice.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from pnol_jax.bases import GridOperands
from pnol_jax.posteriors.protocol import Params
from pnol_jax.predictive import Predictive

Losses = Callable[[Sequence[tuple[int, ...]]], ArrayLike]  # of each of several sets of components


@runtime_checkable
class Components(Protocol):
    """A posterior whose predictive is a mixture of trained components in equal shares."""

    def component_axes(self, params: Params) -> Mapping[str, int | None]:
        """Of each parameter the axis of components, None where all share it."""
        ...

    def each(self, params: Params, inputs: jax.Array, grid: GridOperands, key: jax.Array) -> Predictive:
        """What each component predicts, (components, batch, *space, out), of inputs (batch, *space, in)."""
        ...


def count(posterior: Components, params: Params) -> int:
    """How many components there are."""
    axes = posterior.component_axes(params)
    return next(value.shape[axis] for name, value in params.items() if (axis := axes[name]) is not None)


def take(posterior: Components, params: Params, chosen: Sequence[int]) -> Params:
    """The parameters of the chosen components, in this order."""
    axes, index = posterior.component_axes(params), jnp.asarray(chosen)
    return {
        name: value if axes[name] is None else jnp.take(value, index, axis=axes[name]) for name, value in params.items()
    }


def of_chosen(each: Predictive, chosen: jax.Array) -> Predictive:
    """The mixture of the components where `chosen` (components,) is one and not zero; a single one is itself."""
    number = jnp.sum(chosen)
    shares = (chosen / number).astype(each.mean.dtype)

    def mean(values: jax.Array) -> jax.Array:
        return jnp.tensordot(shares, values, axes=1)

    centre = mean(each.mean)
    apart = mean(jnp.square(each.mean - centre)) * number / jnp.maximum(number - 1, 1)
    return Predictive(mean=centre, aleatoric=mean(each.aleatoric), epistemic=apart.astype(centre.dtype))


def forward(losses: Losses, components: int, number: int) -> tuple[int, ...]:
    """The components in the order in which they were chosen: each round the one with which the mixture loses least."""
    chosen: tuple[int, ...] = ()
    while len(chosen) < number:
        tried = [(*chosen, other) for other in range(components) if other not in chosen]
        chosen = tried[int(np.argmin(np.asarray(losses(tried))))]
    return chosen
