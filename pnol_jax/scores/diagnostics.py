"""Whether the stated uncertainty is the true one: its size against the error, and the truth's rank in it."""

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.special import ndtr
from jax.typing import ArrayLike

from pnol_jax import quantiles
from pnol_jax.errors import InputError
from pnol_jax.predictive import Predictive
from pnol_jax.scores.measure import drawn, field_mean, residual


def sharpness(predictive: Predictive, weights: ArrayLike) -> jax.Array:
    """The mean standard deviation, (batch,), in the unit of the outputs."""
    return field_mean(predictive.std, weights)


def rmse(predictive: Predictive, truth: jax.Array, weights: ArrayLike) -> jax.Array:
    """The root mean square error of the mean, (batch,), in the unit of the outputs."""
    return jnp.sqrt(field_mean(jnp.square(residual(predictive, truth)), weights))


def spread(predictive: Predictive, weights: ArrayLike, members: int | None = None) -> jax.Array:
    """The root mean square error that the predictive expects of its mean, (batch,), in the unit of the outputs.

    A mean over `members` draws of the posterior is itself off by 1 / members of their variance, so that epistemic
    variance counts (members + 1) / members times (Fortin, Abaza, Anctil, Turcotte 2014). None: the mean is exact.
    """
    if members is not None and members < 2:
        raise InputError(f"members: got {members}, expected at least 2")
    correction = 1.0 if members is None else (members + 1) / members
    return jnp.sqrt(field_mean(predictive.aleatoric + correction * predictive.epistemic, weights))


def spread_skill(spread: jax.Array, rmse: jax.Array) -> jax.Array:
    """Spread over skill of a set of cases, (cases,) and (cases,) -> (): 1 is right, less is overconfident."""
    return jnp.sqrt(jnp.mean(jnp.square(spread)) / jnp.mean(jnp.square(rmse)))


def pit(predictive: Predictive, truth: jax.Array) -> jax.Array:
    """The probability integral transform of the truth at each point, (batch, *space, channels): uniform is right.

    The distribution function of stated quantiles, or of the Gaussian, at the truth; of m samples the middle of the
    truth's cell among m + 1.
    """
    low, high = _pit_cell(predictive, truth)
    return (low + high) / 2


def pit_distribution(predictive: Predictive, truth: jax.Array, weights: ArrayLike, at: ArrayLike) -> jax.Array:
    """The share of the domain whose PIT is at most `at`, (k,) -> (batch, k): `at` itself is right.

    The truth's rank among samples is spread evenly over its cell, so that a finite number of samples leaves the right
    distribution uniform; differences between bin edges are a rank histogram.
    Source: Czado, Gneiting, Held (2009), Predictive model assessment for count data, Section 2.
    """
    low, high = _pit_cell(predictive, truth)
    width = high - low

    def share(edge: jax.Array) -> jax.Array:
        within = jnp.clip((edge - low) / jnp.where(width > 0, width, 1), 0, 1)
        return field_mean(jnp.where(width > 0, within, edge >= low), weights)

    return jnp.moveaxis(lax.map(share, jnp.asarray(at, truth.dtype)), 0, -1)


def rank_histogram(predictive: Predictive, truth: jax.Array, weights: ArrayLike) -> jax.Array:
    """The share of the domain where the truth has rank 0, ..., m among m samples, (batch, m + 1): 1 / (m + 1) is right.

    A truth that equals samples counts to all ranks that it may have alike.
    """
    edges = jnp.linspace(0, 1, drawn(predictive, truth, least=1).shape[0] + 2)
    return jnp.diff(pit_distribution(predictive, truth, weights, edges), axis=-1)


def reliability(predictive: Predictive, truth: jax.Array, weights: ArrayLike, levels: ArrayLike) -> jax.Array:
    """The share of the domain inside the central interval of each level, (k,) -> (batch, k): the level is right."""
    levels = jnp.asarray(levels, truth.dtype)
    edges = jnp.concatenate([(1 - levels) / 2, (1 + levels) / 2])
    below, above = jnp.split(pit_distribution(predictive, truth, weights, edges), 2, axis=-1)
    return above - below


def _pit_cell(predictive: Predictive, truth: jax.Array) -> tuple[jax.Array, jax.Array]:
    if predictive.quantiles is not None:
        value = ndtr(quantiles.score(predictive.levels, predictive.quantiles, truth))
        return value, value
    if predictive.samples is None:
        value = ndtr(residual(predictive, truth) / predictive.std)
        return value, value
    samples = drawn(predictive, truth, least=1)
    cells = samples.shape[0] + 1
    return jnp.sum(samples < truth, axis=0) / cells, (jnp.sum(samples <= truth, axis=0) + 1) / cells
