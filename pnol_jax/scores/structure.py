"""Scores of samples that see how a field hangs together, beyond its points: by pairs of regions, by patches.

Both are fair as those of `proper` are, and are made from integrals over coarse cells, the same on every grid.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from pnol_jax.bases import GridOperands
from pnol_jax.predictive import Predictive
from pnol_jax.scores.measure import drawn, root
from pnol_jax.scores.regions import cell_means, cell_measures


def variogram_score(
    predictive: Predictive, truth: jax.Array, grid: GridOperands, cells: Sequence[int], order: float = 0.5
) -> jax.Array:
    """Fair variogram score of m >= 2 samples, (batch,): whether differences between regions are of the right size.

    The mean over pairs of cells a, b and over channels of (|y_a - y_b|^p - mean_i |x_ia - x_ib|^p)^2 - s^2 / m, with
    means over cells and the sample variance s^2 of |x_ia - x_ib|^p. Blind to a shift of the whole field. Channels of
    different units should be standardised before. Source: Scheuerer, Hamill 2015, Variogram-based proper scoring rules
    for probabilistic forecasts of multivariate quantities, in the fair form of Ferro 2014.

    Args:
        predictive: samples (num_samples, batch, *space, channels).
        truth: (batch, *space, channels).
        grid: the operands of the grid.
        cells: their number on each axis; cells in which a coarse grid has no point do not count.
        order: p.
    """
    samples = drawn(predictive, truth, least=2)
    m, batch, channels = samples.shape[0], truth.shape[0], truth.shape[-1]
    measured = (cell_measures(grid, cells) > 0).reshape(-1, 1, _product(cells))

    def means(field: jax.Array) -> jax.Array:
        flat = jnp.moveaxis(cell_means(field, grid, cells).reshape(batch, -1, channels), -1, 1)
        return jnp.where(measured, flat, 0)  # (batch, channels, cells)

    of_samples, of_truth = jax.vmap(means)(samples), means(truth)

    def pairs(cell: jax.Array) -> tuple[jax.Array, jax.Array]:
        def steps(values: jax.Array) -> jax.Array:
            return jnp.abs(values - jnp.take(values, cell, axis=-1)[..., None]) ** order

        drawn_steps = steps(of_samples)
        off = steps(of_truth) - jnp.mean(drawn_steps, axis=0)
        both = jnp.broadcast_to(measured & jnp.take(measured, cell, axis=-1)[..., None], off.shape)
        score = jnp.square(off) - jnp.var(drawn_steps, axis=0, ddof=1) / m
        return jnp.sum(jnp.where(both, score, 0), axis=(1, 2)), jnp.sum(both, axis=(1, 2))

    sums, counts = lax.map(pairs, jnp.arange(_product(cells)))
    alone = channels * jnp.sum(measured[:, 0], axis=-1)  # each cell with itself
    return jnp.sum(sums, axis=0) / (jnp.sum(counts, axis=0) - alone)


def patched_energy_score(
    predictive: Predictive, truth: jax.Array, grid: GridOperands, cells: Sequence[int]
) -> jax.Array:
    """Fair energy score of m >= 2 samples on each cell by itself, the mean over cells: (batch,).

    The energy score of a whole field hardly sees short-range structure; on patches it does. One cell is the energy
    score. Source: Pacchiardi, Adewoyin, Dueben, Dutta 2024, Probabilistic forecasting with generative networks via
    scoring rule minimization.
    """
    samples = drawn(predictive, truth, least=2)
    m, batch = samples.shape[0], truth.shape[0]
    measured = (cell_measures(grid, cells) > 0).reshape(-1, _product(cells))

    def distance(one: jax.Array, other: jax.Array) -> jax.Array:
        square = jnp.mean(cell_means(jnp.square(one - other), grid, cells), axis=-1).reshape(batch, -1)
        return root(jnp.where(measured, square, 0))  # (batch, cells)

    def to_all(field: jax.Array) -> jax.Array:
        return jax.vmap(lambda sample: distance(sample, field))(samples)

    pairs = lax.map(lambda field: jnp.sum(to_all(field), axis=0), samples)
    score = jnp.mean(to_all(truth), axis=0) - jnp.sum(pairs, axis=0) / (2 * m * (m - 1))
    return jnp.sum(score, axis=-1) / jnp.sum(measured, axis=-1)


def _product(cells: Sequence[int]) -> int:
    product = 1
    for number in cells:
        product *= number
    return product
