"""Operators that draw: by what is dropped in each pass, or as a mean with a deviation times a random field."""

from dataclasses import dataclass
from typing import Protocol

import jax
import jax.numpy as jnp
from jax import lax

from pnol_jax.bases import GridOperands
from pnol_jax.operators import stochastic
from pnol_jax.posterior_config import DropConfig
from pnol_jax.posteriors import mixture
from pnol_jax.posteriors.deterministic import Deterministic
from pnol_jax.posteriors.dropout import check_rates, dropping
from pnol_jax.posteriors.protocol import Params
from pnol_jax.posteriors.random_field import RandomField

Moments = tuple[jax.Array, jax.Array]


class Drawing(Protocol):
    """Draws of the outputs in normalised units, for inputs in physical ones."""

    @property
    def base(self) -> Deterministic:
        """The operator."""
        ...

    def draw(self, params: Params, inputs: jax.Array, grid: GridOperands, key: jax.Array) -> jax.Array:
        """One draw for each case, (batch, *space, out), by numbers of its own."""
        ...

    def train(self, params: Params, inputs: jax.Array, grid: GridOperands, keys: jax.Array) -> jax.Array:
        """A draw for each key, (draws, batch, *space, out), to be trained: all at once."""
        ...

    def sample(self, params: Params, inputs: jax.Array, grid: GridOperands, keys: jax.Array) -> jax.Array:
        """A draw for each key, (draws, batch, *space, out), one after the other."""
        ...

    def moments(self, params: Params, inputs: jax.Array, grid: GridOperands, key: jax.Array) -> Moments:
        """Mean and variance, (batch, *space, out), which do not depend on what other cases there are."""
        ...


@dataclass(frozen=True)
class Dropping:
    """A pass with modes and channels dropped is a draw; moments are those of so many passes."""

    base: Deterministic
    rates: DropConfig
    passes: int

    def __post_init__(self) -> None:
        check_rates(self.rates)

    def draw(self, params: Params, inputs: jax.Array, grid: GridOperands, key: jax.Array) -> jax.Array:
        """One pass, each case with a mask of its own."""
        return self._pass(params, inputs, grid, key, by_case=True)

    def train(self, params: Params, inputs: jax.Array, grid: GridOperands, keys: jax.Array) -> jax.Array:
        """Passes side by side."""
        passes: jax.Array = jax.vmap(self.draw, (None, None, 0, 0))(
            params, inputs, mixture.spread(grid, len(keys)), keys
        )
        return passes

    def sample(self, params: Params, inputs: jax.Array, grid: GridOperands, keys: jax.Array) -> jax.Array:
        """Passes one after the other, each with one mask for all cases."""
        passes: jax.Array = lax.map(lambda key: self._pass(params, inputs, grid, key, by_case=False), keys)
        return passes

    def moments(self, params: Params, inputs: jax.Array, grid: GridOperands, key: jax.Array) -> Moments:
        """Mean and variance (divisor passes - 1) of the passes."""
        drawn = self.sample(params, inputs, grid, jax.random.split(key, self.passes))
        return jnp.mean(drawn, axis=0), jnp.var(drawn, axis=0, ddof=1)

    def _pass(
        self, params: Params, inputs: jax.Array, grid: GridOperands, key: jax.Array, *, by_case: bool
    ) -> jax.Array:
        with stochastic.at_hand(dropping(self.rates, key, by_case=by_case)):
            return self.base.moments(params, inputs, grid)[0]


@dataclass(frozen=True)
class Reparametrised:
    """Two heads, mean and variance: a draw is mean + deviation * noise, with moments in closed form."""

    base: Deterministic
    noise: RandomField

    def draw(self, params: Params, inputs: jax.Array, grid: GridOperands, key: jax.Array) -> jax.Array:
        """The heads, and noise for each case."""
        return self._with_noise(*self.moments(params, inputs, grid, key), grid, key)

    def train(self, params: Params, inputs: jax.Array, grid: GridOperands, keys: jax.Array) -> jax.Array:
        """The heads once, with noise for each key."""
        mean, variance = self.moments(params, inputs, grid, keys[0])
        draws: jax.Array = jax.vmap(lambda key: self._with_noise(mean, variance, grid, key))(keys)
        return draws

    def sample(self, params: Params, inputs: jax.Array, grid: GridOperands, keys: jax.Array) -> jax.Array:
        """The same."""
        return self.train(params, inputs, grid, keys)

    def moments(self, params: Params, inputs: jax.Array, grid: GridOperands, key: jax.Array) -> Moments:
        """The heads."""
        mean, variance = self.base.moments(params, inputs, grid)
        assert variance is not None
        return mean, variance

    def _with_noise(self, mean: jax.Array, variance: jax.Array, grid: GridOperands, key: jax.Array) -> jax.Array:
        noise = self.noise.draw(key, grid, mean.shape[0], mean.shape[-1], mean.dtype)
        return mean + jnp.sqrt(variance) * noise
