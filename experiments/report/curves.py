"""Drawings of all cases of every test set together."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from experiments.report.drawing import ERROR, MEAN, SOFT, TRUTH, Draw, colour, legend, logarithmic, marker, plain
from experiments.report.words import Names, title
from experiments.results import TestResults

Array = NDArray[Any]
Results = Sequence[TestResults]


def line_axes(figure: FigureBase, x: str, y: str) -> Axes:
    """Axes with a grid and labels."""
    axes = figure.add_subplot()
    axes.grid(True)
    axes.set_xlabel(plain(x))
    axes.set_ylabel(plain(y))
    return axes


def errors(results: Results) -> Draw:
    """A histogram of the cases' errors, with every set's median."""

    def draw(figure: FigureBase) -> None:
        axes = line_axes(figure, "relative L2 error of a case", "share of the cases")
        every = np.concatenate([finite(entry.figures["relative_l2"]) for entry in results])
        edges = np.histogram_bin_edges(every, bins=int(np.clip(len(every) / (3 * len(results)), 8, 30)))
        for position, entry in enumerate(results):
            values = finite(entry.figures["relative_l2"])
            weights = np.full(len(values), 1 / max(len(entry), 1))
            shade: dict[str, Any] = {"color": colour(position), "weights": weights, "bins": edges}
            axes.hist(values, histtype="stepfilled", alpha=0.22, **shade)
            axes.hist(values, histtype="step", linewidth=1.3, label=plain(title(entry)), **shade)
            axes.axvline(float(np.median(values)), color=colour(position), linestyle="--", linewidth=1)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=None))
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
        legend(axes)

    return draw


def resolution(results: Results, trained: Sequence[float]) -> Draw:
    """Error against points a side: every case, and median and middle half of every set; training grids are marked."""

    def draw(figure: FigureBase) -> None:
        axes = line_axes(figure, "points a side (geometric mean)", "relative L2 error")
        for n in trained:
            axes.axvline(
                n, color=SOFT, linewidth=1, linestyle=":", label="grid of training" if n == trained[0] else None
            )
        for position, entry in enumerate(results):
            values, n = finite(entry.figures["relative_l2"]), side(entry)
            if not values.size:
                continue
            jitter = 2 ** np.random.default_rng(0).uniform(-0.04, 0.04, len(values))
            axes.plot(n * jitter, values, ".", color=colour(position), alpha=0.25, markersize=3, markeredgewidth=0)
            low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
            spread = [[middle - low], [high - middle]]
            style: dict[str, Any] = {
                "color": colour(position),
                "marker": marker(position),
                "capsize": 4,
                "markersize": 6,
            }
            axes.errorbar(n, middle, spread, linestyle="", label=plain(title(entry)), **style)
        axes.set_xscale("log", base=2)
        sides = sorted({*(side(entry) for entry in results), *trained})
        axes.set_xticks(sides, [f"{n:.3g}" for n in sides])
        axes.minorticks_off()
        axes.set_xlim(sides[0] / 1.4, sides[-1] * 1.4)
        axes.set_ylim(0)
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
        legend(axes)

    return draw


def side(entry: TestResults) -> float:
    """The points a side of a grid: the geometric mean over its axes."""
    return float(np.prod(entry.grid.shape) ** (1 / entry.grid.ndim))


def learning(log: Mapping[str, Sequence[float]], name: str, label: str) -> Draw:
    """One figure of the log by training step."""

    def draw(figure: FigureBase) -> None:
        axes = line_axes(figure, "step", label)
        axes.plot(log["step"], log[name], color=MEAN, marker="o" if len(log["step"]) < 30 else "", markersize=3)
        if np.all(np.asarray(log[name]) > 0) and max(log[name]) > 3 * min(log[name]):
            logarithmic(axes, "y")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.set_xlim(0)

    return draw


def spectrum(entry: TestResults, channel: int, about: Names, cutoff: float | None) -> Draw:
    """The power of truth, mean and error by wave number; beyond `cutoff` the operator mixes no modes."""

    def draw(figure: FigureBase) -> None:
        unit = about.axes[0].unit
        output = about.outputs[channel]
        power = f"({output.unit})²" if output.unit else f"square of {output.name}"
        axes = line_axes(figure, f"wave number [cycles per {unit or 'unit of length'}]", f"power [{power}]")
        kept = slice(1, entry.spectrum.complete)
        waves = entry.spectrum.waves[kept]
        style = {"truth": (TRUTH, "-"), "mean": (MEAN, "--"), "error": (ERROR, "-"), "samples": (MEAN, ":")}
        for name, (shade, line) in style.items():
            if name not in entry.spectrum.power:
                continue
            values = entry.spectrum.power[name][kept, channel]
            axes.plot(waves, np.where(values > 0, values, np.nan), color=shade, linestyle=line, label=name)
        if cutoff is not None and waves.size and waves[0] < cutoff < waves[-1]:
            axes.axvline(cutoff, color=SOFT, linewidth=1, linestyle=":", label="highest mode kept")
        logarithmic(axes, "xy")
        legend(axes)

    return draw


def rollout(results: Results, time_step: float) -> Draw:
    """The error by lead time of step models that go on from their own states: median and middle half of the cases."""

    def draw(figure: FigureBase) -> None:
        axes = line_axes(figure, "lead time", "relative L2 error")
        for position, entry in enumerate(results):
            assert entry.rollout is not None
            for name, line in (("model", "-"), ("persistence", ":")):
                values = np.where(np.isfinite(entry.rollout[name]), entry.rollout[name], np.inf)
                quartiles = np.quantile(values, (0.25, 0.5, 0.75), axis=0, method="nearest")
                low, middle, high = (_drawable(row) for row in quartiles)
                time = time_step * np.arange(1, len(middle) + 1)
                label = f"{title(entry)}{', first state kept' if name == 'persistence' else ''}"
                axes.plot(time, middle, color=colour(position), linestyle=line, label=plain(label))
                if name == "model":
                    axes.fill_between(time, low, high, color=colour(position), alpha=0.2, linewidth=0)
        logarithmic(axes, "y")
        legend(axes)

    return draw


def _drawable(values: Array) -> Array:
    drawn: Array = np.where(np.isfinite(values) & (values > 0), values, np.nan)
    return drawn


def finite(values: Array) -> Array:
    """Those of the values that are numbers."""
    kept: Array = values[np.isfinite(values)]
    return kept
