"""The picture of `benchmarks.uq`: what a prediction costs against how good it is, of every posterior."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import FigureBase
from matplotlib.ticker import FixedLocator, FormatStrFormatter, NullLocator

from benchmarks.uq_figures import ENSEMBLE
from benchmarks.uq_problems import POSTERIORS
from benchmarks.uq_rows import Row
from experiments.report.drawing import COLOURS, Draw

MARKERS = "osD^vPX*<>hpd8"  # with twelve colours 84 pairs, so that no two posteriors are drawn alike
COSTS = tuple(step * 10**power for power in (-1, 0, 1, 2, 3) for step in (1, 2, 5))
TICKS = (0.4, 0.5, 0.7, 1, 1.5, 2, 3, 5, 8)
TITLES = {
    "darcy": "Darcy",
    "burgers": "Burgers",
    "kuramoto_sivashinsky_5": "Kuramoto-Sivashinsky, 5 steps",
    "kuramoto_sivashinsky_20": "Kuramoto-Sivashinsky, 20 steps",
}
WIDTH, HEIGHT, LEGEND = 2.6, 2.6, 1.5  # inches of a task, and of the names


def size(tasks: Sequence[str]) -> tuple[float, float]:
    """Of the picture, in inches."""
    return WIDTH * len(tasks) + LEGEND, HEIGHT


def costs(rows: Sequence[Row], tasks: Sequence[str]) -> Draw:
    """Of each task, CRPS over the ensemble's against the cost of a prediction; lower and further left is better."""

    def draw(figure: FigureBase) -> None:
        panels, handles = figure.subplots(1, len(tasks), squeeze=False)[0], {}
        for axes, task in zip(panels, tasks, strict=True):
            mine = {row.posterior: row for row in rows if task in row.tasks}
            base = mine[ENSEMBLE].figures(task)["crps"].value if ENSEMBLE in mine else 1.0
            for number, posterior in enumerate(POSTERIORS):
                crps = mine[posterior].figures(task)["crps"] if posterior in mine else None
                if crps is None or not np.isfinite(crps.value):
                    continue
                reach = np.asarray([[crps.value - crps.low], [crps.high - crps.value]]) / base
                place = mine[posterior].milliseconds, crps.value / base
                style = {
                    "color": COLOURS[number % len(COLOURS)],
                    "marker": MARKERS[number % len(MARKERS)],
                    "markersize": 4,
                    "elinewidth": 0.7,
                }
                handles[posterior] = axes.errorbar(*place, yerr=reach, linestyle="none", **style)
            axes.set_xscale("log")
            axes.set_yscale("log")
            for axis, ticks in ((axes.xaxis, COSTS), (axes.yaxis, TICKS)):
                axis.set_major_locator(FixedLocator(ticks))
                axis.set_major_formatter(FormatStrFormatter("%g"))
                axis.set_minor_locator(NullLocator())
            axes.axhline(1.0, color="0.8", linewidth=0.7, zorder=0)
            axes.set_title(TITLES.get(task, task), fontsize=8)
            axes.set_xlabel("ms a case", fontsize=7)
            axes.tick_params(labelsize=6)
        panels[0].set_ylabel("CRPS over the ensemble's", fontsize=7)
        figure.legend(handles.values(), handles, loc="outside right center", fontsize=6, frameon=False)

    return draw
