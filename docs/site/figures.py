"""The figures of docs/theory.md, by the project's own code: `python docs/site/figures.py`."""

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import matplotlib
import numpy as np
from matplotlib import pyplot

from pnol_jax.bases import Basis
from pnol_jax.calibration.conformal import SplitConformal
from pnol_jax.calibration.conformity import conformity_scores
from pnol_jax.grids import Axis
from pnol_jax.predictive import Predictive

DOCS = Path(__file__).parents[1]
FIRST, SECOND = "#0072b2", "#d55e00"
DEVICES, CHANNELS, KEPT = 8, 32, 24
CASES, POINTS, LEVEL, DRAWS = 60, 24, 0.9, 400


def main() -> None:
    """Write both."""
    matplotlib.rcParams.update({"svg.hashsalt": "pnol", "svg.fonttype": "none", "font.size": 9})
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3), layout="constrained")
    sampling(left)
    moved(right)
    _write(figure, "sampling.svg")
    figure, axes = pyplot.subplots(figsize=(6, 3), layout="constrained")
    coverage(axes)
    _write(figure, "coverage.svg")


def sampling(axes: Any) -> None:
    """One function on two grids, and what the coefficients of each say between the points."""
    rng, basis, fine = np.random.default_rng(3), Basis("fourier", 11), np.linspace(0, 1, 400)
    steps = rng.uniform(0.7, 1.3, 22)
    uneven = Axis("periodic", 1.0, tuple((np.cumsum(steps) - steps[0]) / steps.sum()))
    for axis, colour, mark in ((Axis.uniform(15), FIRST, "o"), (uneven, SECOND, "x")):
        coefficients = basis.analysis(axis).T @ _function(axis.points)
        axes.plot(fine, basis.synthesis(fine, 1.0) @ coefficients, color=colour, linewidth=1)
        axes.plot(axis.points, _function(axis.points), mark, color=colour, markersize=5, label=f"{axis.n} points")
    axes.set(xlabel="x", title="One function, two grids")
    axes.legend(frameon=False)


def _function(x: Any) -> Any:
    return np.sin(2 * np.pi * x) + 0.4 * np.cos(6 * np.pi * x) - 0.25 * np.sin(10 * np.pi * x)


def moved(axes: Any) -> None:
    """Bytes that a device sends in a layer: twice its share of the field, or of the first axis' coefficients."""
    sizes = 2 ** np.arange(6, 11)
    share = (DEVICES - 1) / DEVICES * 4 * CHANNELS / DEVICES
    axes.loglog(sizes, 2 * share * sizes**2 * 1e-6, color=SECOND, marker="o", label="whole field")
    axes.loglog(sizes, 2 * share * sizes * (KEPT + 2) * 1e-6, color=FIRST, marker="o", label=f"{KEPT} kept modes")
    axes.set(xlabel="points a side, N", ylabel="MB", title="Sent by one of eight devices")
    axes.set_xticks(sizes, [str(size) for size in sizes], minor=False)
    axes.minorticks_off()
    axes.legend(frameon=False)


def coverage(axes: Any) -> None:
    """What bands that are fitted on few cases hold of very many."""
    rng, basis = np.random.default_rng(0), Basis("fourier", 8)
    axis = Axis.uniform(POINTS)
    smooth = basis.synthesis(axis.points, 1.0) / np.sqrt(basis.functions)
    fields = rng.standard_normal((20_000, basis.functions)) @ smooth.T
    std = fields.std(axis=0)
    zero = jnp.zeros((len(fields), POINTS, 1))
    predictive = Predictive(zero, zero + jnp.asarray(std[:, None]) ** 2, zero)
    scores = np.asarray(conformity_scores(predictive, jnp.asarray(fields[..., None]), axis.weights(), "simultaneous"))
    test, pool = scores[10_000:, 0], scores[:10_000]
    reached = []
    for _ in range(DRAWS):
        drawn = pool[rng.choice(len(pool), CASES, replace=False)]
        reached.append(np.mean(test <= _factor(drawn)))
    rank = int(np.ceil((CASES + 1) * LEVEL))
    x = np.linspace(0.75, 1, 300)
    density = x ** (rank - 1) * (1 - x) ** (CASES - rank)
    density /= np.sum(density) * (x[1] - x[0])
    axes.hist(reached, bins=25, density=True, color=FIRST, alpha=0.4)
    axes.plot(x, density, color=FIRST, label=f"beta({rank}, {CASES + 1 - rank})")
    axes.axvline(LEVEL, color="grey", linewidth=1, linestyle=":", label="promised")
    axes.set(xlabel="coverage on new cases", yticks=[], title=f"Bands of {CASES} calibration cases")
    axes.legend(frameon=False)


def _factor(scores: Any) -> float:
    fitted = SplitConformal.from_scores(scores, level=LEVEL, kind="simultaneous")
    return float(fitted.factor)


def _write(figure: Any, name: str) -> None:
    figure.savefig(DOCS / name, metadata={"Date": None})
    pyplot.close(figure)


if __name__ == "__main__":
    main()
