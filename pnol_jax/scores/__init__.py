"""How good a predictive distribution is, given the truth.

Every function is pure and jittable and takes arrays in physical units: a field (batch, *space, channels), and the
quadrature weights of its grid, (*space) or per case (batch, *space), zero on padding. Unless it says otherwise it
returns one number a case, (batch,), the mean over the domain and over the channels, so that cases from several grids
can be put side by side; the score of a data set is their mean, and `bootstrap` says how sure that is. `spearman`,
`risk_coverage` and `ause` are of many cases' numbers.
"""

from pnol_jax.scores.bootstrap import Estimate, bootstrap, paired_difference
from pnol_jax.scores.diagnostics import (
    pit,
    pit_distribution,
    rank_histogram,
    reliability,
    rmse,
    sharpness,
    spread,
    spread_skill,
)
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
from pnol_jax.scores.ranking import ause, risk_coverage, spearman
from pnol_jax.scores.regions import cell_means, cell_measures, regional_coverage
from pnol_jax.scores.structure import patched_energy_score, variogram_score

__all__ = [
    "Estimate",
    "ause",
    "bootstrap",
    "cell_means",
    "cell_measures",
    "coverage",
    "crps",
    "energy_score",
    "gaussian_crps",
    "gaussian_nll",
    "interval_score",
    "interval_width",
    "paired_difference",
    "patched_energy_score",
    "pit",
    "pit_distribution",
    "quantile_crps",
    "rank_histogram",
    "regional_coverage",
    "relative_l2",
    "reliability",
    "risk_coverage",
    "rmse",
    "sample_crps",
    "sharpness",
    "simultaneous_coverage",
    "spearman",
    "spread",
    "spread_skill",
    "variogram_score",
]
