"""Probabilistic neural operator (Bülte, Scholl, Kutyniok 2025): an operator trained by a proper score of its draws.

The score is proper, so in expectation nothing is better than to draw from the law of the outputs given the inputs; and
it is estimated without bias from a few draws, so that few are enough in training. A score of draws does not tell what
is noise and what more data would remove: all variance stands under aleatoric. Source: "Probabilistic neural operators
for functional uncertainty quantification", Section 3.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax

from pnol_jax import collectives, scores
from pnol_jax.bases import GridOperands
from pnol_jax.posterior_config import PNOConfig
from pnol_jax.posteriors import losses, mixture
from pnol_jax.posteriors.drawing import Drawing, Dropping, Reparametrised
from pnol_jax.posteriors.problem import Problem
from pnol_jax.posteriors.protocol import NORMALISER, Batch, FitBatch, Metrics, Params
from pnol_jax.posteriors.random_field import RandomField
from pnol_jax.posteriors.units import normal_outputs, physical
from pnol_jax.predictive import Predictive
from pnol_jax.sharding.partition import Axes

Score = Literal["energy", "crps"]


@dataclass(frozen=True)
class PNO:
    """An operator that draws, trained by the fair energy score of whole fields or the CRPS at each point.

    The CRPS of a steady problem's Gaussian is had in closed form. Of a trajectory every draw marches on from its own
    states, and the draws are scored at every step.
    """

    drawing: Drawing
    score: Score
    draws: int
    members: int | None = None
    has_samples: bool = True

    @classmethod
    def build(cls, config: PNOConfig, problem: Problem) -> "PNO":
        """From its section of the config."""
        problem.check_loss("pno", f"the {config.score} score of its draws")
        if config.variant == "dropout":
            return cls(
                Dropping(problem.network(problem.outputs), config.dropout, config.passes), config.score, config.draws
            )
        base = problem.network(problem.outputs, heteroscedastic=True)
        return cls(Reparametrised(base, RandomField(config.noise, problem.bases)), config.score, config.draws)

    @property
    def axes(self) -> Mapping[str, Axes]:
        """Those of the operator."""
        return self.drawing.base.axes

    def initial(self, seed: int) -> Params:
        """As the deterministic posterior's."""
        return self.drawing.base.initial(seed)

    def loss(self, params: Params, batch: Batch, grid: GridOperands, key: jax.Array) -> tuple[jax.Array, Metrics]:
        """The score in normalised units; of a trajectory the mean over its steps."""
        if batch.outputs.ndim > batch.inputs.ndim:
            return self._marched(params, batch, grid, key)
        if self.score == "crps" and isinstance(self.drawing, Reparametrised):
            mean, variance = self.drawing.moments(params, batch.inputs, grid, key)
            exact = Predictive(mean, variance, jnp.zeros_like(mean))
            return self._scored(params, exact, batch.outputs, grid)
        drawn = self.drawing.train(params, batch.inputs, grid, jax.random.split(key, self.draws))
        return self._scored(params, _empirical(drawn), batch.outputs, grid)

    def _marched(self, params: Params, batch: Batch, grid: GridOperands, key: jax.Array) -> tuple[jax.Array, Metrics]:
        channels, base = batch.outputs.shape[-1], self.drawing.base
        state, static = batch.inputs[..., :channels], batch.inputs[..., channels:]
        state = state + base.state_noise(params) * collectives.normal(key, state.shape, state.dtype)
        each, found = jax.vmap(self.drawing.draw, (None, 0, 0, 0)), []
        for step in range(batch.outputs.shape[1]):
            keys = jax.random.split(jax.random.fold_in(key, step), self.draws)
            inputs = jnp.concatenate([state, jnp.broadcast_to(static, (*state.shape[:-1], static.shape[-1]))], axis=-1)
            if step:
                drawn = each(params, inputs, mixture.spread(grid, self.draws), keys)
            else:
                drawn = self.drawing.train(params, inputs, grid, keys)
            found.append(self._scored(params, _empirical(drawn), batch.outputs[:, step], grid))
            state = physical(params, drawn)
            state = lax.stop_gradient(state) if base.pushforward else state
        means: tuple[jax.Array, Metrics] = jax.tree.map(lambda *values: jnp.mean(jnp.stack(values)), *found)
        return means

    def _scored(
        self, params: Params, normal: Predictive, truth: jax.Array, grid: GridOperands
    ) -> tuple[jax.Array, Metrics]:
        score = scores.energy_score if self.score == "energy" else scores.crps
        value = score(normal, normal_outputs(params, truth), grid.weights())
        error = losses.relative_l2(physical(params, normal.mean), truth, grid)
        return losses.batch_mean(value), {"relative_l2": error}

    def fit(self, params: Params, data: Callable[..., Iterable[FitBatch]]) -> Params:
        """Nothing."""
        return params

    def predict(
        self, params: Params, inputs: jax.Array, grid: GridOperands, key: jax.Array, num_samples: int = 0
    ) -> Predictive:
        """Moments, in closed form where there is one; samples are draws of their own."""
        of_moments, of_samples = jax.random.split(key)
        mean, variance = self.drawing.moments(params, inputs, grid, of_moments)
        samples = None
        if num_samples:
            drawn = self.drawing.sample(params, inputs, grid, jax.random.split(of_samples, num_samples))
            samples = physical(params, drawn)
        aleatoric = params[NORMALISER + "outputs.std"] ** 2 * variance
        return Predictive(physical(params, mean), aleatoric, jnp.zeros_like(mean), samples)


def _empirical(drawn: jax.Array) -> Predictive:
    mean = jnp.mean(drawn, axis=0)
    nothing = jnp.zeros_like(mean)
    return Predictive(mean, nothing, nothing, drawn)
