"""Noise around a mean that is correlated over the domain as the residuals were: draws are fields, not static."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp

from pnol_jax import collectives
from pnol_jax.bases import GridOperands
from pnol_jax.collectives import CASES
from pnol_jax.operators.layout import enter, fold, leave, unfold
from pnol_jax.operators.transforms import analyse, synthesise
from pnol_jax.posteriors.deterministic import Deterministic
from pnol_jax.posteriors.losses import domain_mean
from pnol_jax.posteriors.protocol import Batch, FitBatch, Metrics, Params
from pnol_jax.predictive import Predictive
from pnol_jax.sharding.divide import divided
from pnol_jax.sharding.partition import Axes, spec

SPECTRUM, WHITE, FACTOR, LASTING = "noise.spectrum", "noise.white", "noise.factor", "noise.lasting"


@dataclass(frozen=True)
class Coloured:
    """The deterministic posterior, its noise no longer independent from point to point.

    u = mean + factor s(x) xi(x), s the head's standard deviation (one per channel without it), xi a Gaussian field
    whose coefficients in the operator's basis are independent, each with the mean square that the standardised
    residuals of training have there, and white noise of the variance that the basis does not hold. Along a rollout the
    share `lasting` of the variance of xi is that of one field, kept from step to step, and the rest drawn anew: an
    operator's error at a state resembles its error at the next. `factor` is 1 and `lasting` 0 until a calibration on
    rollouts changes them (`calibration.rollout` of the config).
    """

    base: Deterministic
    members: int | None = None
    has_samples: bool = True

    @property
    def axes(self) -> Mapping[str, Axes]:
        """The base's."""
        return self.base.axes

    def initial(self, seed: int) -> Params:
        """The base's."""
        return self.base.initial(seed)

    def loss(self, params: Params, batch: Batch, grid: GridOperands, key: jax.Array) -> tuple[jax.Array, Metrics]:
        """The base's."""
        return self.base.loss(params, batch, grid, key)

    def fit(self, params: Params, data: Callable[..., Iterable[FitBatch]]) -> Params:
        """The spectrum of the standardised residuals, (*functions, channels), and the variance it leaves, (channels,).

        Of trajectories the residuals are those of one step.
        """
        params = self.base.fit(params, data)
        compiled = divided(self._squares, (spec(), spec(), spec()))
        parts = [compiled(params, batch) for batch in data()]
        power, rest, count = jax.tree.map(lambda *values: jnp.sum(jnp.stack(values), axis=0), *parts)
        return params | {SPECTRUM: power / count, WHITE: rest / count, **undisturbed(count)}

    def _squares(self, params: Params, one: FitBatch) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Sums over a batch's cases of the squared coefficients and of what they leave, and the number of cases."""
        batch, grid, mask = one
        truth = batch.outputs if batch.outputs.ndim == batch.inputs.ndim else batch.outputs[:, 0]
        predictive = self.base.predict(params, batch.inputs, grid, jax.random.key(0))
        standard = (truth - predictive.mean) / predictive.std
        coefficients = analyse(unfold(enter(standard, grid), grid), grid)
        rest = standard - leave(fold(synthesise(coefficients, grid)), grid)
        power = jnp.einsum("...bc,b->...c", jnp.square(coefficients), mask)
        left = mask @ domain_mean(jnp.square(rest), grid)
        return collectives.total(power, CASES), collectives.total(left, CASES), collectives.total(jnp.sum(mask), CASES)

    def predict(
        self, params: Params, inputs: jax.Array, grid: GridOperands, key: jax.Array, num_samples: int = 0
    ) -> Predictive:
        """The base's mean; its variance times that of xi at each point; draws of whole fields."""
        base = self.base.predict(params, inputs, grid, key)
        scale = params[FACTOR] * base.std
        predictive = replace(base, aleatoric=jnp.square(scale) * _variance(params, grid))
        if not num_samples:
            return predictive
        return replace(predictive, samples=base.mean + scale * _draws(params, base.mean.shape, grid, key, num_samples))

    def advance(
        self, params: Params, inputs: jax.Array, grid: GridOperands, function: jax.Array, noise: jax.Array
    ) -> jax.Array:
        """As `pnol_jax.posteriors.march.Marching` has it; what lasts of the noise is drawn by the key `function`."""
        draws, cases = inputs.shape[:2]
        rows = inputs.reshape(draws * cases, *inputs.shape[2:])
        base = self.base.predict(params, rows, _repeated(grid, draws), function)
        mean, std = (value.reshape(draws, cases, *value.shape[1:]) for value in (base.mean, base.std))
        lasting, anew = (_draws(params, mean.shape[1:], grid, key, draws) for key in (function, noise))
        share = params[LASTING]
        return mean + params[FACTOR] * std * (jnp.sqrt(share) * lasting + jnp.sqrt(1 - share) * anew)


def undisturbed(like: jax.Array) -> Params:
    """Noise as the residuals have it, each step's its own; factor and share are numbers, (), as `like` is."""
    return {FACTOR: jnp.ones_like(like), LASTING: jnp.zeros_like(like)}


def _repeated(grid: GridOperands, times: int) -> GridOperands:
    """The operands for so many copies of a batch, one after the other."""
    if not grid.batched:
        return grid
    repeated: GridOperands = jax.tree.map(lambda leaf: jnp.tile(leaf, (times, *(1,) * (leaf.ndim - 1))), grid)
    return repeated


def _variance(params: Params, grid: GridOperands) -> jax.Array:
    """That of xi at each point, (1 or batch, *space, channels)."""
    squared = GridOperands(tuple(replace(axis, synthesis=jnp.square(axis.synthesis)) for axis in grid.axes))
    cases = grid.axes[0].points.shape[0] if grid.batched else 1
    spectrum = params[SPECTRUM]
    spread = jnp.broadcast_to(spectrum[..., None, :], (*spectrum.shape[:-1], cases, spectrum.shape[-1]))
    return leave(fold(synthesise(spread, squared)), squared) + params[WHITE]


def _draws(params: Params, shape: tuple[int, ...], grid: GridOperands, key: jax.Array, number: int) -> jax.Array:
    """So many fields xi for every case, (number, *shape)."""
    fields: jax.Array = jax.vmap(lambda key: _draw(params, shape, grid, key))(jax.random.split(key, number))
    return fields


def _draw(params: Params, shape: tuple[int, ...], grid: GridOperands, key: jax.Array) -> jax.Array:
    """A field xi for every case, of the shape (batch, *space, channels): the same function on every grid."""
    deviation = jnp.sqrt(params[SPECTRUM])
    coloured, white = jax.random.split(key)
    cases = collectives.index(CASES) * shape[0] + jnp.arange(shape[0])
    keys = jax.vmap(lambda case: jax.random.fold_in(coloured, case))(cases)
    coefficients = jax.vmap(lambda key: jax.random.normal(key, deviation.shape, deviation.dtype), out_axes=-2)(keys)
    field = leave(fold(synthesise(coefficients * deviation[..., None, :], grid)), grid)
    return field + jnp.sqrt(params[WHITE]) * collectives.normal(white, shape, deviation.dtype)
