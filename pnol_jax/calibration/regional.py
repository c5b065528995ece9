"""Variance scaling by region: a factor for each coarse cell of the domain and each channel."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from pnol_jax.bases import GridOperands
from pnol_jax.calibration.protocol import Asked, needed
from pnol_jax.calibration.record import check_enough, check_rows
from pnol_jax.calibration.recorded import Recorded
from pnol_jax.calibration.scaling import LEAST, WHY, scaled
from pnol_jax.errors import InputError
from pnol_jax.predictive import Predictive
from pnol_jax.scores.measure import residual
from pnol_jax.scores.regions import cell_integrals, cell_measures, spread_out


def regional_scores(predictive: Predictive, truth: jax.Array, grid: GridOperands, cells: Sequence[int]) -> jax.Array:
    """(truth - mean)^2 / variance integrated over each cell, and the cells' measures, (batch, 2 * cells * channels).

    Measures are those of the quadrature: on a grid too coarse to have a point in every cell some are zero.
    """
    square = jnp.square(residual(predictive, truth)) / predictive.variance
    integrals = cell_integrals(square, grid, cells)
    measures = jnp.broadcast_to(cell_measures(grid, cells).astype(truth.dtype), integrals.shape)
    return jnp.concatenate([leaf.reshape(len(truth), -1) for leaf in (integrals, measures)], axis=1)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class RegionScaling(Recorded):
    """Variances times the factor of the cell that a point lies in, and of the channel.

    Each factor is the mean of (truth - mean)^2 / variance over its cell and the cases: the likeliest. Cells are equal
    stretches of every axis, so that they are the same on every grid.
    """

    method: ClassVar[str] = "region_scaling"

    factors: jax.Array  # (*cells, channels)
    cases: int = field(metadata={"static": True})

    @classmethod
    def from_scores(cls, scores: ArrayLike, cells: Sequence[int]) -> "RegionScaling":
        """From the `regional_scores` of calibration cases, (cases, 2 * cells * channels), of grids as they come.

        Raises:
            InputError: too few cases with points in a cell, or a factor that is not a positive number.
        """
        rows = check_rows(scores, None, "regional scores")
        integrals, measures = rows.reshape(len(rows), 2, *cells, -1).swapaxes(0, 1)
        check_enough(int((measures > 0).sum(axis=0).min()), LEAST, f"with points in every region, {WHY}")
        factors = integrals.sum(axis=0) / measures.sum(axis=0)
        wrong = np.argwhere(~(np.isfinite(factors) & (factors > 0)))
        if wrong.size:
            raise InputError(f"regional scores: got a mean of {factors[tuple(wrong[0])]} in the region {wrong[0][:-1]}")
        return cls(jnp.asarray(factors, float), len(rows))

    def __call__(self, predictive: Predictive, asked: Asked | None = None) -> Predictive:
        """The same mean, with variances and samples scaled by region; a band stays as it is."""
        grid = needed(asked, "region_scaling").grid
        return scaled(predictive, spread_out(self.factors.astype(predictive.mean.dtype), grid))

    @property
    def statement(self) -> str:
        """What is promised, in words."""
        regions = " x ".join(map(str, self.factors.shape[:-1]))
        return (
            f"the likeliest factor on the variances in each of {regions} regions; no promise for a finite "
            "number of cases"
        )
