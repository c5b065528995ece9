"""How good a predictive distribution is, given the truth.

Every function is pure and jittable and takes arrays in physical units: a field (batch, *space, channels), and the
quadrature weights of its grid, (*space) or per case (batch, *space), zero on padding. Unless it says otherwise it
returns one number a case, (batch,), the mean over the domain and over the channels, so that cases from several grids
can be put side by side; the score of a data set is their mean.
"""

from pnol_jax.scores.diagnostics import pit, pit_distribution, reliability, rmse, sharpness, spread, spread_skill
from pnol_jax.scores.intervals import coverage, interval_score, interval_width, simultaneous_coverage
from pnol_jax.scores.proper import (
    crps,
    energy_score,
    gaussian_crps,
    gaussian_nll,
    quantile_crps,
    relative_l2,
    sample_crps,
)

__all__ = [
    "coverage",
    "crps",
    "energy_score",
    "gaussian_crps",
    "gaussian_nll",
    "interval_score",
    "interval_width",
    "pit",
    "pit_distribution",
    "quantile_crps",
    "relative_l2",
    "reliability",
    "rmse",
    "sample_crps",
    "sharpness",
    "simultaneous_coverage",
    "spread",
    "spread_skill",
]
