"""An ensemble of heads on one operator: what is before them is computed, and trained, once.

Source: Lee, Purushwalkam, Cogswell, Crandall, Batra (2015), Why M heads are better than one. Heads share what the
operator has learnt, so they differ less than the members of an ensemble, most of all far from the training cases.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp

from pnol_jax.bases import GridOperands
from pnol_jax.operators.functional import PROJECTION
from pnol_jax.patterns import fits
from pnol_jax.posterior_config import HeadsConfig
from pnol_jax.posteriors import mixture
from pnol_jax.posteriors.deterministic import Deterministic
from pnol_jax.posteriors.problem import Problem
from pnol_jax.posteriors.protocol import OPERATOR, Batch, FitBatch, Metrics, Params
from pnol_jax.posteriors.residuals import NOISE, mean_square
from pnol_jax.predictive import Predictive
from pnol_jax.sharding.partition import Axes, spec


@dataclass(frozen=True)
class Heads:
    """`heads` projections, each with a start of its own; the mixture of their Gaussians is the predictive.

    An operator without a projection has as many last layers instead. (Heads that are linear maps have convex losses and
    would all be trained to the same one; a projection has a hidden layer.) Their arrays have a leading axis, over which
    everything is mapped: JAX then computes once what does not depend on it. Training minimises the mean of the heads'
    losses; a step model's heads march on from their own states.
    """

    base: Deterministic
    heads: int
    members: int | None = None
    has_samples: bool = True

    @classmethod
    def build(cls, config: HeadsConfig, problem: Problem) -> "Heads":
        """From its section of the config."""
        return cls(problem.headed(config), config.heads)

    @property
    def _headed(self) -> set[str]:
        projection = [name for name in self.base.names if fits(name, [PROJECTION])]
        return {OPERATOR + name for name in projection or self.base.last_layer}

    @property
    def axes(self) -> Mapping[str, Axes]:
        """Those of the operator; heads are not divided."""
        return {name: (None, *axes) if name in self._headed else axes for name, axes in self.base.axes.items()}

    def initial(self, seed: int) -> Params:
        """The operator starts as the deterministic posterior with this seed, head i as with `seed * 1000 + i`."""
        starts = [self.base.initial(seed * 1000 + head) for head in range(self.heads)]
        stacked = {name: jnp.stack([start[name] for start in starts]) for name in self._headed}
        return self.base.initial(seed) | stacked

    def component_axes(self, params: Params) -> dict[str, int | None]:
        """Of each parameter the axis of heads, None where they share it."""
        mine = self._headed | {NOISE}
        return {name: 0 if name in mine else None for name in params}

    def loss(self, params: Params, batch: Batch, grid: GridOperands, key: jax.Array) -> tuple[jax.Array, Metrics]:
        """The mean of the heads' losses, and of their figures."""
        losses = jax.vmap(self.base.loss, (self.component_axes(params), None, None, None))(params, batch, grid, key)
        means: tuple[jax.Array, Metrics] = jax.tree.map(jnp.mean, losses)
        return means

    def fit(self, params: Params, data: Callable[..., Iterable[FitBatch]]) -> Params:
        """Without the head for the noise: the residual variance of each."""
        if self.base.heteroscedastic:
            return params
        return params | {NOISE: mean_square(self._squared_residuals, spec(), params, data)}

    def _squared_residuals(self, params: Params, one: FitBatch) -> tuple[jax.Array, jax.Array]:
        nothing: Any = None
        squares, counts = jax.vmap(self.base.squared_residuals, (self.component_axes(params), nothing))(params, one)
        return squares, counts[0]

    def predict(
        self, params: Params, inputs: jax.Array, grid: GridOperands, key: jax.Array, num_samples: int = 0
    ) -> Predictive:
        """As the ensemble's: mean over heads, their variance, the mean of theirs; a sample is a head with its noise."""
        each = self.each(params, inputs, grid, key)
        samples = mixture.samples(each, self.heads, key, num_samples) if num_samples else None
        return replace(mixture.moments(each, self.heads), samples=samples)

    def advance(
        self, params: Params, inputs: jax.Array, grid: GridOperands, function: jax.Array, noise: jax.Array
    ) -> jax.Array:
        """As `pnol_jax.posteriors.march.Marching` has it: draw i is a rollout of head i mod `heads`."""

        def each(key: jax.Array, inputs: jax.Array) -> Predictive:
            return self.each(params, inputs, grid, key, own=True)

        return mixture.advance_in_turn(each, self.heads, inputs, function, noise)

    def each(
        self, params: Params, inputs: jax.Array, grid: GridOperands, key: jax.Array, *, own: bool = False
    ) -> Predictive:
        """What each head predicts, the heads before the batch; `own`: of inputs of its own."""
        predict = jax.vmap(self.base.predict, (self.component_axes(params), 0 if own else None, None, None))
        predictive: Predictive = predict(params, inputs, grid, key)
        return predictive
