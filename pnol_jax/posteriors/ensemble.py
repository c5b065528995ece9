"""A deep ensemble (Lakshminarayanan, Pritzel, Blundell 2017) whose members train side by side as one program."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from pnol_jax.bases import GridOperands
from pnol_jax.errors import InputError
from pnol_jax.posteriors.deterministic import NOISE, Deterministic
from pnol_jax.posteriors.protocol import Batch, FitBatch, Metrics, Params, constant, trained
from pnol_jax.predictive import Predictive


@dataclass(frozen=True)
class Ensemble:
    """`members` operators, each from a start of its own; the mixture of their Gaussians is the predictive.

    Every trained array has a leading axis of members. The grid's operands get one too, so that every transform stays
    a matrix product per member and no field is transposed.
    """

    base: Deterministic
    members: int
    has_samples: bool = True

    def __post_init__(self) -> None:
        if self.members < 2:
            raise InputError(f"posterior.members: got {self.members}, expected at least 2")

    def initial(self, seed: int) -> Params:
        """Member i starts as the deterministic posterior with seed `seed * 1000 + i` would."""
        starts = [self.base.initial(seed * 1000 + member) for member in range(self.members)]
        stacked: Params = jax.tree.map(lambda *leaves: jnp.stack(leaves), *starts)
        return stacked

    def _axes(self, params: Params) -> dict[str, int | None]:
        mine = trained(params).keys() | {NOISE}
        return {name: 0 if name in mine else None for name in params}

    def _spread(self, grid: GridOperands) -> GridOperands:
        spread: GridOperands = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (self.members, *leaf.shape)), grid)
        return spread

    def loss(self, params: Params, batch: Batch, grid: GridOperands, key: jax.Array) -> tuple[jax.Array, Metrics]:
        """The sum of the members' losses, so that each member's gradient is its own; figures are means."""
        losses, metrics = jax.vmap(self.base.loss, (self._axes(params), None, 0, 0))(
            params, batch, self._spread(grid), jax.random.split(key, self.members)
        )
        means: Metrics = jax.tree.map(jnp.mean, metrics)
        return jnp.sum(losses), means

    def fit(self, params: Params, data: Callable[[], Iterable[FitBatch]]) -> Params:
        """What the members do, one after the other."""
        others = constant(params)
        fitted = [
            self.base.fit(others | {name: value[member] for name, value in trained(params).items()}, data)
            for member in range(self.members)
        ]
        added = fitted[0].keys() - params.keys()
        return params | {name: jnp.stack([member[name] for member in fitted]) for name in added}

    def predict(
        self, params: Params, inputs: jax.Array, grid: GridOperands, key: jax.Array, num_samples: int = 0
    ) -> Predictive:
        """Mean over members; epistemic: their variance (divisor members - 1); aleatoric: the mean of theirs.

        A sample is a member's mean, members taken in turn from a random order, with its noise at each point.
        """
        each = jax.vmap(self.base.predict, (self._axes(params), None, 0, None))(params, inputs, self._spread(grid), key)
        return Predictive(
            mean=jnp.mean(each.mean, axis=0),
            aleatoric=jnp.mean(each.aleatoric, axis=0),
            epistemic=jnp.var(each.mean, axis=0, ddof=1),
            samples=_draws(each, key, num_samples) if num_samples else None,
        )


def _draws(each: Predictive, key: jax.Array, num_samples: int) -> jax.Array:
    order, noise = jax.random.split(key)
    members = each.mean.shape[0]
    chosen = jax.random.permutation(order, members)[jnp.arange(num_samples) % members]
    shape = (num_samples, *each.mean.shape[1:])
    white = jax.random.normal(noise, shape, each.mean.dtype)
    draws: jax.Array = each.mean[chosen] + jnp.sqrt(each.aleatoric[chosen]) * white
    return draws
