"""A quantile operator: some quantiles of the outputs at each point, by the pinball loss (Koenker, Bassett 1978)."""

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import lax

from pnol_jax import quantiles
from pnol_jax.bases import GridOperands
from pnol_jax.errors import InputError
from pnol_jax.posterior_config import QuantileConfig
from pnol_jax.posteriors import losses
from pnol_jax.posteriors.deterministic import Deterministic
from pnol_jax.posteriors.problem import Problem
from pnol_jax.posteriors.protocol import NORMALISER, Batch, FitBatch, Metrics, Params
from pnol_jax.posteriors.random_field import RandomField
from pnol_jax.posteriors.residuals import LEAST_VARIANCE
from pnol_jax.posteriors.units import normal_outputs, physical
from pnol_jax.predictive import Predictive
from pnol_jax.quantiles import Levels
from pnol_jax.sharding.partition import Axes

MEDIAN = 0.5
LEAST_GAP = LEAST_VARIANCE**0.5  # in normalised units


@dataclass(frozen=True)
class Quantile:
    """The median, and the gaps to the quantiles on both sides of it: sums of softplus, so that none can cross another.

    `base` is the operator with `outputs` channels for every level. Between the quantiles and beyond them the
    distribution is as `pnol_jax.quantiles` has it; a drawn field has the ranks of a random field. All variance stands
    under aleatoric, as the quantiles are one operator's.
    """

    base: Deterministic
    outputs: int
    levels: Levels
    noise: RandomField
    members: int | None = None
    has_samples: bool = True

    def __post_init__(self) -> None:
        rising = all(low < high for low, high in itertools.pairwise(self.levels))
        if not rising or MEDIAN not in self.levels[1:-1]:
            raise InputError(
                f"posterior.levels: got {list(self.levels)}, expected at least three that rise, {MEDIAN} among "
                "them and some on both sides of it"
            )

    @classmethod
    def build(cls, config: QuantileConfig, problem: Problem) -> "Quantile":
        """From its section of the config."""
        problem.check_loss("quantile", "the pinball loss")
        levels = tuple(config.levels)
        base = problem.network(problem.outputs * len(levels))
        return cls(base, problem.outputs, levels, RandomField(config.noise, problem.bases))

    @property
    def axes(self) -> Mapping[str, Axes]:
        """Those of the operator."""
        return self.base.axes

    def initial(self, seed: int) -> Params:
        """As the deterministic posterior's."""
        return self.base.initial(seed)

    def quantiles(self, params: Params, inputs: jax.Array, grid: GridOperands) -> jax.Array:
        """The quantiles in normalised units, (levels, batch, *space, out)."""
        raw = self.base.moments(params, inputs, grid)[0]
        raw = jnp.moveaxis(raw.reshape(*raw.shape[:-1], len(self.levels), self.outputs), -2, 0)
        middle = self.levels.index(MEDIAN)
        gaps = jax.nn.softplus(raw) + LEAST_GAP
        below, above = jnp.cumsum(gaps[:middle], axis=0)[::-1], jnp.cumsum(gaps[middle + 1 :], axis=0)
        median = raw[middle : middle + 1]
        return jnp.concatenate([median - below, median, median + above])

    def mean(self, params: Params, inputs: jax.Array, grid: GridOperands) -> jax.Array:
        """The mean in physical units, (batch, *space, out)."""
        return physical(params, quantiles.mean_and_variance(self.levels, self.quantiles(params, inputs, grid))[0])

    def loss(self, params: Params, batch: Batch, grid: GridOperands, key: jax.Array) -> tuple[jax.Array, Metrics]:
        """The mean of the pinball losses of the levels, or over the steps of a trajectory too."""
        return self.base.over_steps(self._one_step, self.mean, params, batch, grid, key)

    def _one_step(self, params: Params, batch: Batch, grid: GridOperands) -> tuple[jax.Array, Metrics]:
        found = self.quantiles(params, batch.inputs, grid)
        levels = jnp.asarray(self.levels, found.dtype).reshape(-1, *(1,) * (found.ndim - 1))
        over = normal_outputs(params, batch.outputs) - found
        pinball = jnp.mean(jnp.maximum(levels * over, (levels - 1) * over), axis=0)
        mean = physical(params, quantiles.mean_and_variance(self.levels, found)[0])
        error = losses.relative_l2(mean, batch.outputs, grid)
        return losses.batch_mean(losses.domain_mean(pinball, grid)), {"relative_l2": error}

    def fit(self, params: Params, data: Callable[..., Iterable[FitBatch]]) -> Params:
        """Nothing."""
        return params

    def predict(
        self, params: Params, inputs: jax.Array, grid: GridOperands, key: jax.Array, num_samples: int = 0
    ) -> Predictive:
        """The quantiles, and the mean and the variance of their distribution."""
        found = self.quantiles(params, inputs, grid)
        mean, variance = quantiles.mean_and_variance(self.levels, found)

        def sample(key: jax.Array) -> jax.Array:
            ranks = self.noise.draw(key, grid, mean.shape[0], self.outputs, mean.dtype)
            return physical(params, quantiles.quantile(self.levels, found, ranks))

        return Predictive(
            mean=physical(params, mean),
            aleatoric=params[NORMALISER + "outputs.std"] ** 2 * variance,
            epistemic=jnp.zeros_like(mean),
            samples=lax.map(sample, jax.random.split(key, num_samples)) if num_samples else None,
            quantiles=physical(params, found),
            levels=self.levels,
        )
