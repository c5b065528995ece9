"""A deep ensemble (Lakshminarayanan, Pritzel, Blundell 2017) whose members train side by side as one program."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp

from pnol_jax import collectives
from pnol_jax.bases import GridOperands
from pnol_jax.collectives import MEMBER
from pnol_jax.errors import InputError
from pnol_jax.posteriors import mixture
from pnol_jax.posteriors.deterministic import Deterministic
from pnol_jax.posteriors.protocol import Batch, FitBatch, Metrics, Params, trained
from pnol_jax.posteriors.residuals import NOISE, mean_square
from pnol_jax.predictive import Predictive
from pnol_jax.sharding.partition import Axes, spec


@dataclass(frozen=True)
class Ensemble:
    """`members` operators, each from a start of its own; the mixture of their Gaussians is the predictive.

    Every trained array has a leading axis of members, which a mesh may divide. The operands of the grid get one too, so
    that every transform stays a matrix product per member and no field is transposed.
    """

    base: Deterministic
    members: int
    has_samples: bool = True

    def __post_init__(self) -> None:
        if self.members < 2:
            raise InputError(f"posterior.members: got {self.members}, expected at least 2")

    @property
    def axes(self) -> Mapping[str, Axes]:
        """Those of one member after the axis of members."""
        return {name: ("member", *axes) for name, axes in self.base.axes.items()}

    def initial(self, seed: int) -> Params:
        """Member i starts as the deterministic posterior with seed `seed * 1000 + i` would."""
        starts = [self.base.initial(seed * 1000 + member) for member in range(self.members)]
        stacked: Params = jax.tree.map(lambda *leaves: jnp.stack(leaves), *starts)
        return stacked

    def component_axes(self, params: Params) -> dict[str, int | None]:
        """Of each parameter the axis of members, None where they share it."""
        mine = trained(params).keys() | {NOISE}
        return {name: 0 if name in mine else None for name in params}

    def _spread(self, grid: GridOperands) -> GridOperands:
        return mixture.spread(grid, self.members // collectives.count(MEMBER))

    def loss(self, params: Params, batch: Batch, grid: GridOperands, key: jax.Array) -> tuple[jax.Array, Metrics]:
        """The sum of the members' losses, so that each member's gradient is its own; figures are means."""
        keys = collectives.mine(jax.random.split(key, self.members), MEMBER, 0)
        losses, metrics = jax.vmap(self.base.loss, (self.component_axes(params), None, 0, 0))(
            params, batch, self._spread(grid), keys
        )
        means: Metrics = jax.tree.map(lambda values: collectives.mean(jnp.mean(values), MEMBER), metrics)
        return collectives.total(jnp.sum(losses), MEMBER), means

    def fit(self, params: Params, data: Callable[..., Iterable[FitBatch]]) -> Params:
        """Without the head: each member's own residual variance."""
        if self.base.heteroscedastic:
            return params
        return params | {NOISE: mean_square(self._squared_residuals, spec("member"), params, data)}

    def _squared_residuals(self, params: Params, one: FitBatch) -> tuple[jax.Array, jax.Array]:
        spread = one._replace(grid=self._spread(one.grid))
        axes: Any = FitBatch(None, 0, None)  # type: ignore[arg-type]
        squares, counts = jax.vmap(self.base.squared_residuals, (self.component_axes(params), axes))(params, spread)
        return squares, counts[0]

    def predict(
        self, params: Params, inputs: jax.Array, grid: GridOperands, key: jax.Array, num_samples: int = 0
    ) -> Predictive:
        """Mean over members; epistemic: their variance (divisor members - 1); aleatoric: the mean of theirs.

        A sample is a member's mean, members taken in turn from a random order, with its noise at each point.
        """
        each = self.each(params, inputs, grid, key)
        samples = mixture.samples(each, self.members, key, num_samples) if num_samples else None
        return replace(mixture.moments(each, self.members), samples=samples)

    def advance(
        self, params: Params, inputs: jax.Array, grid: GridOperands, function: jax.Array, noise: jax.Array
    ) -> jax.Array:
        """As `pnol_jax.posteriors.march.Marching` has it: draw i is a rollout of member i mod `members`."""

        def each(key: jax.Array, inputs: jax.Array) -> Predictive:
            return self.each(params, inputs, grid, key, own=True)

        return mixture.advance_in_turn(each, self.members, inputs, function, noise)

    def each(
        self, params: Params, inputs: jax.Array, grid: GridOperands, key: jax.Array, *, own: bool = False
    ) -> Predictive:
        """What each of the members at hand predicts, the members before the batch; `own`: of inputs of its own."""
        predict = jax.vmap(self.base.predict, (self.component_axes(params), 0 if own else None, 0, None))
        return predict(params, inputs, self._spread(grid), key)
