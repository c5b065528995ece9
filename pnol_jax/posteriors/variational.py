"""A Gaussian over chosen weights, trained by the evidence's lower bound (Blundell et al. 2015, Bayes by backprop).

The bound is a sum over observations, each a number of the outputs, given the weights:

    bound = sum over observations of E_q log p(observation | weights) - KL(q || prior).

Training minimises minus the bound over the number of observations, N cases of n each: the mean negative log-likelihood
plus KL / (N n). What n is, is a statement on the noise. With "points" the noise is independent at every point and in
every channel, n = points * channels: then a finer grid tells more, and the weights' Gaussian narrows with it. Errors of
an operator are correlated over the domain, so a case is worth fewer: give the number of independent observations in it,
such as the number of modes that the errors have.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp

from pnol_jax import collectives
from pnol_jax.bases import GridOperands
from pnol_jax.collectives import CASES, SPACE
from pnol_jax.errors import InputError
from pnol_jax.operators import stochastic
from pnol_jax.operators.stochastic import Stochastic
from pnol_jax.posterior_config import VariationalConfig
from pnol_jax.posteriors import losses, mixture
from pnol_jax.posteriors.deterministic import Deterministic
from pnol_jax.posteriors.gaussian_weights import GaussianWeights
from pnol_jax.posteriors.problem import Problem
from pnol_jax.posteriors.protocol import OPERATOR, Batch, FitBatch, Metrics, Params
from pnol_jax.posteriors.residuals import LEAST_VARIANCE, NOISE
from pnol_jax.posteriors.units import normal_outputs, physical
from pnol_jax.predictive import Predictive
from pnol_jax.sharding.partition import Axes

LOG_NOISE = OPERATOR + "noise.log_variance"


@dataclass(frozen=True)
class Variational:
    """A mean by an operator with random weights, and noise by a head or by one trained variance per channel.

    In training the outputs of a chosen projection are drawn, at each point by itself, in place of its weights; the
    bound is a sum over points, so this changes its variance and not its expectation. Other chosen weights are drawn
    once a step, and all are where a trajectory is unrolled.
    """

    base: Deterministic
    weights: GaussianWeights
    cases: int
    observations: float | Literal["points"]
    draws: int
    members: int | None = None
    has_samples: bool = True

    def __post_init__(self) -> None:
        if self.cases < 1:
            raise InputError(f"posterior: got {self.cases} training cases, expected what the prior is weighed against")

    @classmethod
    def build(cls, config: VariationalConfig, problem: Problem) -> "Variational":
        """From its section of the config."""
        problem.check_loss("variational", "the evidence's lower bound", same="nll")
        base = problem.network(problem.outputs, config.heteroscedastic)
        weights = GaussianWeights.choose(config, problem.shapes(base), base.names, base.last_layer)
        return cls(base, weights, problem.cases, config.observations, config.draws)

    @property
    def axes(self) -> Mapping[str, Axes]:
        """Those of the operator, and of what is known of its weights."""
        noise: dict[str, Axes] = {} if self.base.heteroscedastic else {LOG_NOISE: (None,)}
        return {**self.base.axes, **self.weights.axes, **noise}

    def initial(self, seed: int) -> Params:
        """Means as the deterministic posterior's, and deviations that are small beside the prior's."""
        noise = {} if self.base.heteroscedastic else {LOG_NOISE: jnp.zeros(self.base.outputs)}
        return self.base.initial(seed) | self.weights.initial(seed) | noise

    def loss(self, params: Params, batch: Batch, grid: GridOperands, key: jax.Array) -> tuple[jax.Array, Metrics]:
        """Minus the evidence's lower bound, per observation."""
        drawn, local, noise = jax.random.split(key, 3)
        steps = 1 if batch.outputs.ndim == batch.inputs.ndim else batch.outputs.shape[1]
        apart = self.weights.local if steps == 1 else frozenset()
        random = Stochastic(local, deviations=self.weights.deviations(params, apart))
        weights = self.weights.draw(params, drawn, apart)
        with stochastic.at_hand(random):
            fit, metrics = self.base.over_steps(self._one_step, self.base.mean, weights, batch, grid, noise)
        if missed := random.deviations.keys() - random.asked:
            raise NotImplementedError(f"{sorted(missed)}: the operator does not tell the layer its grid")
        divergence = self.weights.divergence(params)
        return fit + divergence / (self.cases * self._observed(grid)), metrics | {"kl": divergence}

    def _one_step(self, params: Params, batch: Batch, grid: GridOperands) -> tuple[jax.Array, Metrics]:
        mean, variance = self.base.moments(params, batch.inputs, grid)
        variance = self._noise(params) if variance is None else variance
        fit = losses.gaussian_nll(mean, variance, normal_outputs(params, batch.outputs), grid)
        return fit, {"relative_l2": losses.relative_l2(physical(params, mean), batch.outputs, grid)}

    def _noise(self, params: Params) -> jax.Array:
        return jnp.exp(params[LOG_NOISE]) + LEAST_VARIANCE

    def _observed(self, grid: GridOperands) -> jax.Array | float:
        """How many independent observations a case holds; of grids per case, their mean."""
        if self.observations != "points":
            return self.observations
        mask = jnp.asarray(grid.mask())
        points = collectives.total(jnp.sum(mask, axis=tuple(range(-len(grid.axes), 0))), SPACE)
        return self.base.outputs * collectives.mean(jnp.mean(points), CASES)

    def fit(self, params: Params, data: Callable[..., Iterable[FitBatch]]) -> Params:
        """Nothing: the Gaussian is trained."""
        return params

    def predict(
        self, params: Params, inputs: jax.Array, grid: GridOperands, key: jax.Array, num_samples: int = 0
    ) -> Predictive:
        """The mixture over draws of the weights, the same for all cases."""
        return mixture.of_draws(self._drawing(params, grid), inputs, self.draws, key, num_samples)

    def advance(
        self, params: Params, inputs: jax.Array, grid: GridOperands, function: jax.Array, noise: jax.Array
    ) -> jax.Array:
        """As `pnol_jax.posteriors.march.Marching` has it: a draw keeps its weights."""
        return mixture.advance(self._drawing(params, grid), inputs, function, noise)

    def _drawing(self, params: Params, grid: GridOperands) -> mixture.Component:
        noise = {} if self.base.heteroscedastic else {NOISE: self._noise(params)}

        def component(key: jax.Array, inputs: jax.Array) -> Predictive:
            return self.base.predict(self.weights.draw(params, key) | noise, inputs, grid, key)

        return component
