"""Monte Carlo dropout (Gal, Ghahramani 2016) in function space: what is dropped are modes and channels, not points."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from pnol_jax.bases import GridOperands
from pnol_jax.errors import InputError
from pnol_jax.operators import stochastic
from pnol_jax.operators.stochastic import Stochastic
from pnol_jax.posterior_config import DropConfig, DropoutConfig
from pnol_jax.posteriors import mixture
from pnol_jax.posteriors.deterministic import Deterministic
from pnol_jax.posteriors.problem import Problem
from pnol_jax.posteriors.protocol import Batch, FitBatch, Metrics, Params
from pnol_jax.posteriors.residuals import NOISE, mean_square, squared_residuals
from pnol_jax.predictive import Predictive
from pnol_jax.sharding.partition import Axes, spec


def dropping(rates: DropConfig, key: jax.Array, *, by_case: bool) -> Stochastic:
    """What is dropped with this key, ()."""
    return Stochastic(key, rates.spectral, rates.channel, rates.whole_modes, by_case)


def check_rates(rates: DropConfig) -> None:
    """Refuse to drop nothing.

    Raises:
        InputError: both rates are zero.
    """
    if not (rates.spectral or rates.channel):
        raise InputError(
            "posterior.dropout: got a rate of 0 for modes and for channels; then every pass is the same and says "
            "nothing of uncertainty; expected spectral or channel above 0, or posterior.name = 'deterministic'"
        )


@dataclass(frozen=True)
class Dropout:
    """One operator, of which other parts are left out in every pass.

    In training each case has its own mask, the same over all steps of a trajectory. In prediction a pass has one mask
    for all cases, as if its weights were drawn, so that an answer does not depend on what else is asked.
    """

    base: Deterministic
    rates: DropConfig
    draws: int
    members: int | None = None
    has_samples: bool = True

    def __post_init__(self) -> None:
        check_rates(self.rates)

    @classmethod
    def build(cls, config: DropoutConfig, problem: Problem) -> "Dropout":
        """From its section of the config."""
        return cls(problem.headed(config), config.dropout, config.draws)

    @property
    def axes(self) -> Mapping[str, Axes]:
        """Those of the operator."""
        return self.base.axes

    def initial(self, seed: int) -> Params:
        """As the deterministic posterior's."""
        return self.base.initial(seed)

    def loss(self, params: Params, batch: Batch, grid: GridOperands, key: jax.Array) -> tuple[jax.Array, Metrics]:
        """The deterministic posterior's loss of a pass."""
        dropped, rest = jax.random.split(key)
        with stochastic.at_hand(dropping(self.rates, dropped, by_case=True)):
            return self.base.loss(params, batch, grid, rest)

    def fit(self, params: Params, data: Callable[..., Iterable[FitBatch]]) -> Params:
        """Without the head: the variance of what the mean over the passes leaves over."""
        if self.base.heteroscedastic:
            return params
        return params | {NOISE: mean_square(self._squared_residuals, spec(), params, data)}

    def _squared_residuals(self, params: Params, one: FitBatch) -> tuple[jax.Array, jax.Array]:
        unknown = params | {NOISE: jnp.zeros(self.base.outputs, one.batch.inputs.dtype)}
        mean = self.predict(unknown, one.batch.inputs, one.grid, jax.random.key(0)).mean
        return squared_residuals(mean, params, one)

    def predict(
        self, params: Params, inputs: jax.Array, grid: GridOperands, key: jax.Array, num_samples: int = 0
    ) -> Predictive:
        """The mixture of the passes: their mean; their variance, epistemic; the mean of their noise, aleatoric."""
        return mixture.of_draws(self._passing(params, grid), inputs, self.draws, key, num_samples)

    def advance(
        self, params: Params, inputs: jax.Array, grid: GridOperands, function: jax.Array, noise: jax.Array
    ) -> jax.Array:
        """As `pnol_jax.posteriors.march.Marching` has it: a draw keeps its mask."""
        return mixture.advance(self._passing(params, grid), inputs, function, noise)

    def _passing(self, params: Params, grid: GridOperands) -> mixture.Component:
        def component(key: jax.Array, inputs: jax.Array) -> Predictive:
            with stochastic.at_hand(dropping(self.rates, key, by_case=False)):
                return self.base.predict(params, inputs, grid, key)

        return component
