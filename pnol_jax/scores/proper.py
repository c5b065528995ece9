"""Proper scores: lower is better, and in expectation nothing is better than the true distribution.

Source: Gneiting, Raftery (2007), Strictly proper scoring rules, prediction, and estimation. Those of samples are fair
(Ferro 2014): their expectation does not depend on the number of samples.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from pnol_jax import quantiles
from pnol_jax.errors import InputError
from pnol_jax.predictive import Predictive
from pnol_jax.scores.measure import check_shape, domain_mean, drawn, field_mean, residual, root


def relative_l2(predictive: Predictive, truth: jax.Array, weights: ArrayLike) -> jax.Array:
    """||mean - truth|| / ||truth|| in L2 over the domain, of each channel, then their mean: (batch,)."""
    error = domain_mean(jnp.square(residual(predictive, truth)), weights)
    norm = domain_mean(jnp.square(truth), weights)
    return jnp.mean(jnp.where(error == 0, 0, jnp.sqrt(error / norm)), axis=-1)


def crps(predictive: Predictive, truth: jax.Array, weights: ArrayLike) -> jax.Array:
    """Continuous ranked probability score, (batch,): of stated quantiles, of samples, or of the Gaussian."""
    if predictive.quantiles is not None:
        return quantile_crps(predictive, truth, weights)
    score = gaussian_crps if predictive.samples is None else sample_crps
    return score(predictive, truth, weights)


def quantile_crps(predictive: Predictive, truth: jax.Array, weights: ArrayLike) -> jax.Array:
    """CRPS of the distribution of the stated quantiles in closed form, (batch,), in the unit of the outputs."""
    if predictive.quantiles is None:
        raise InputError("predictive.quantiles: got none, expected those of a quantile operator")
    check_shape("truth", truth, predictive.mean)
    return field_mean(quantiles.crps(predictive.levels, predictive.quantiles, truth), weights)


def gaussian_crps(predictive: Predictive, truth: jax.Array, weights: ArrayLike) -> jax.Array:
    """CRPS of N(mean, variance) in closed form, (batch,), in the unit of the outputs.

    s (z (2 Phi(z) - 1) + 2 phi(z) - 1 / sqrt(pi)) with z = (truth - mean) / s, s the standard deviation; the absolute
    error where that is zero. Source: Gneiting, Raftery (2007), Section 4.2.
    """
    error, std = residual(predictive, truth), predictive.std
    z = error / jnp.maximum(std, np.finfo(std.dtype).tiny)
    peak = jnp.sqrt(2 / jnp.pi) * jnp.exp(-0.5 * jnp.square(z)) - 1 / jnp.sqrt(jnp.pi)
    return field_mean(error * lax.erf(z / jnp.sqrt(2)) + std * peak, weights)


def sample_crps(predictive: Predictive, truth: jax.Array, weights: ArrayLike) -> jax.Array:
    """Fair CRPS of m >= 2 samples x_i, (batch,), in the unit of the outputs.

    mean_i |x_i - y| - sum_{i<j} |x_i - x_j| / (m (m - 1)); the sum over pairs is that of (2 k - m + 1) times the k-th
    smallest, k from 0, which takes a sort and no pairs.
    """
    # Pairs do not see the shift by the truth, and small numbers lose less in the alternating sum.
    ordered = jnp.sort(drawn(predictive, truth, least=2) - truth, axis=0)
    m = ordered.shape[0]
    rank = (2 * jnp.arange(m, dtype=truth.dtype) - m + 1) / (m * (m - 1))
    score = jnp.mean(jnp.abs(ordered), axis=0) - jnp.tensordot(rank, ordered, axes=1)
    return field_mean(score, weights)


def energy_score(predictive: Predictive, truth: jax.Array, weights: ArrayLike) -> jax.Array:
    """Fair energy score of m >= 2 samples, (batch,): the CRPS of whole fields, which sees their correlations.

    mean_i ||x_i - y|| - sum_{i<j} ||x_i - x_j|| / (m (m - 1)), where the norm is the root mean square over domain and
    channels; channels of different units should be standardised before.
    """
    samples = drawn(predictive, truth, least=2)
    m = samples.shape[0]

    def distances(field: jax.Array) -> jax.Array:
        return jax.vmap(lambda sample: _norm(sample - field, weights))(samples)

    # One field against all at a time: no array of pairs of fields, and no cancellation as in a matrix of products.
    pairs = lax.map(lambda field: jnp.sum(distances(field), axis=0), samples)
    return jnp.mean(distances(truth), axis=0) - jnp.sum(pairs, axis=0) / (2 * m * (m - 1))


def _norm(field: jax.Array, weights: ArrayLike) -> jax.Array:
    return root(field_mean(jnp.square(field), weights))


def gaussian_nll(predictive: Predictive, truth: jax.Array, weights: ArrayLike) -> jax.Array:
    """Negative logarithm of the density of N(mean, variance) at the truth, (batch,), in nats; variance > 0."""
    variance = predictive.variance
    square = jnp.square(residual(predictive, truth))
    return field_mean(0.5 * (jnp.log(2 * jnp.pi * variance) + square / variance), weights)
