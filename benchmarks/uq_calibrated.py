"""From the figures of each case to those of a row: means with intervals, and coverage after calibration."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.uq_scores import KINDS, LEVEL, Rows
from pnol_jax import scores
from pnol_jax.calibration.conformity import Kind, conformal_factor
from pnol_jax.scores import Estimate

MEANS = ("relative_l2", "crps", "energy_score", "nll", "coverage")
NAMES = (*MEANS, "coverage_pointwise", "coverage_simultaneous", "ause")
SPLITS = 50
NOTHING = Estimate(float("nan"), float("nan"), float("nan"))
Floats = NDArray[Any]


def summary(calibration: Rows, test: Rows) -> dict[str, Estimate]:
    """The figures of a task with 95% bootstrap intervals over its test cases, NaN where a prediction left the numbers.

    `coverage` is that of the posterior's own central interval; `coverage_pointwise` and `coverage_simultaneous` are of
    mean +- factor * std, the factor by split conformal prediction on the calibration cases; of those the mean over many
    splits of both sets, in the same sizes, is `..._over_splits`, which tells a defect from the luck of one split.
    """
    found = {name: scores.bootstrap(test[name]) for name in MEANS}
    pairs = np.stack([test["rmse"], test["spread"]], axis=1)
    finite = bool(np.isfinite(pairs).all())
    found["ause"] = scores.bootstrap(pairs, lambda rows: scores.ause(rows[:, 0], rows[:, 1])) if finite else NOTHING
    for kind in KINDS:
        held, asked = calibration[kind], test[kind]
        sound = bool(np.isfinite(held).all() and np.isfinite(asked).all())
        found[f"coverage_{kind}"] = scores.bootstrap(inside(held, asked, kind)) if sound else NOTHING
        found[f"coverage_{kind}_over_splits"] = over_splits(held, asked, kind) if sound else NOTHING
    return found


def inside(calibration: Floats, test: Floats, kind: Kind) -> Floats:
    """The share of each test case inside the band, (cases,), from conformity scores (cases, quantiles) of both."""
    shares: Floats = np.mean(test <= conformal_factor(calibration, LEVEL, kind), axis=1)
    return shares


def over_splits(calibration: Floats, test: Floats, kind: Kind) -> Estimate:
    """The mean coverage over random splits of all cases, and the range that the middle 95% of them lie in."""
    pool, shares = np.concatenate([calibration, test]), []
    for split in range(SPLITS):
        order = np.random.default_rng(split).permutation(len(pool))
        held, asked = pool[order[: len(calibration)]], pool[order[len(calibration) :]]
        shares.append(float(inside(held, asked, kind).mean()))
    low, high = np.quantile(shares, [0.025, 0.975])
    return Estimate(float(np.mean(shares)), float(low), float(high))


def gap(found: Mapping[str, Estimate], name: str) -> float:
    """How far a coverage is from the level."""
    return abs(found[name].value - LEVEL)
