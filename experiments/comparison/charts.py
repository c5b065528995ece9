"""Drawings of all runs together. Colours and markers are those of the key, so none has a legend of its own."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase, SubFigure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from experiments.comparison.compared import Comparison
from experiments.report.curves import Results, finite, line_axes
from experiments.report.drawing import SOFT, TRUTH, Draw, colour, logarithmic, marker, plain
from experiments.report.uncertainty import reliability
from experiments.results import DRAWN, PIT_EDGES

Array = NDArray[Any]
BINS, BIN_CASES = 10, 10  # of spread against skill: at most so many, of at least so many cases
COLUMNS = 3  # of the picture's legend


def without_legend(draw: Draw) -> Draw:
    """A drawing whose lines the key names."""

    def drawn(figure: FigureBase) -> None:
        draw(figure)
        assert isinstance(figure, Figure | SubFigure)
        for axes in figure.get_axes():
            legend = axes.get_legend()
            if legend is not None:
                legend.remove()

    return drawn


def pareto(comparison: Comparison, unit: str) -> Draw:
    """CRPS against the time of a prediction: quartiles and intervals as bars, the front as a line."""

    def draw(figure: FigureBase) -> None:
        axes = line_axes(figure, "time of a prediction of one case [ms]", f"CRPS{f' [{unit}]' if unit else ''}")
        pareto_axes(axes, comparison)

    return draw


def pareto_axes(axes: Axes, comparison: Comparison) -> None:
    """The points, their bars and the front on given axes."""
    stands = comparison.tests[0].standings["crps"]
    times, crps = [cost.moments.median for cost in comparison.costs], comparison.crps
    for position, (cost, stand) in enumerate(zip(comparison.costs, stands, strict=True)):
        if stand is None or not np.isfinite(stand.estimate.value):
            continue
        found, timing = stand.estimate, cost.moments
        across = [[timing.median - timing.low], [timing.high - timing.median]]
        bars = [[max(0.0, found.value - found.low)], [max(0.0, found.high - found.value)]]
        style: dict[str, Any] = {"color": colour(position), "marker": marker(position), "markersize": 7}
        axes.errorbar(timing.median, found.value, np.nan_to_num(bars), across, elinewidth=1, capsize=2, **style)
    axes.margins(0.12)
    ends = [end for cost in comparison.costs for end in (cost.moments.low, cost.moments.high)]
    names = "".join(name for name, values in (("x", ends), ("y", crps)) if _wide(values))
    logarithmic(axes, names)
    for axis in (getattr(axes, f"{name}axis") for name in names):
        axis.set_label_text(f"{axis.get_label_text()} (log)")
    _front(axes, [times[i] for i in comparison.front], [crps[i] for i in comparison.front])


def _front(axes: Axes, times: Sequence[float], crps: Sequence[float]) -> None:
    """A staircase between what some run reaches and what none does, from edge to edge."""
    right, top = axes.get_xlim()[1], axes.get_ylim()[1]
    stairs = [*times[:1], *times, right], [top, *crps, *crps[-1:]]
    axes.step(*stairs, where="post", color=TRUTH, linewidth=1.1, linestyle=":", scalex=False, scaley=False)


def _wide(values: Sequence[float]) -> bool:
    """Whether values are so far apart that a logarithmic axis shows them better."""
    kept = finite(np.asarray(values))
    return bool(kept.size and np.all(kept > 0) and kept.max() > 4 * kept.min())


def pit(results: Results) -> Draw:
    """The histograms of the truths' ranks in what was predicted, as outlines: flat is honest."""

    def draw(figure: FigureBase) -> None:
        axes = line_axes(figure, "predicted probability of a value below the truth", "density")
        axes.axhline(1, color=SOFT, linewidth=1, linestyle="--")
        for position, entry in enumerate(results):
            axes.stairs(entry.pit / np.diff(PIT_EDGES), PIT_EDGES, color=colour(position), linewidth=1.4)
        axes.set(xlim=(0, 1), ylim=(0, None))

    return draw


def spread_skill(results: Results, unit: str) -> Draw:
    """The error of cases that are about equally uncertain against their predicted error: root mean squares."""

    def draw(figure: FigureBase) -> None:
        bracket = f" [{unit}]" if unit else ""
        axes = line_axes(figure, f"predicted error (spread){bracket}", f"error (RMSE){bracket}")
        every = [binned(entry.figures["spread"], entry.figures["rmse"]) for entry in results]
        for position, pair in enumerate(every):
            style: dict[str, Any] = {"color": colour(position), "marker": marker(position), "markersize": 4}
            axes.plot(*pair, **style)
        values = np.concatenate([finite(pair.ravel()) for pair in every])
        values = values[values > 0]
        low, high = (float(np.min(values)), float(np.max(values))) if values.size else (0.1, 1.0)
        limits = (low / 1.15, high * 1.15)
        axes.plot(limits, limits, color=SOFT, linewidth=1, linestyle="--", zorder=1)
        axes.set(xlim=limits, ylim=limits)
        if high > 4 * low:
            logarithmic(axes, "xy")

    return draw


def binned(spread: Array, skill: Array) -> Array:
    """Root mean square spread and error of groups of cases in the order of their spread, (2, groups).

    One group where all cases are equally uncertain.
    """
    pair = np.stack([spread, skill]).astype(np.float64)
    pair = pair[:, np.all(np.isfinite(pair), axis=0)]
    if not pair.size:
        return np.zeros((2, 0))
    even = np.ptp(pair[0]) <= 1e-5 * np.max(pair[0])
    count = 1 if even else int(np.clip(pair.shape[1] // BIN_CASES, 1, BINS))
    groups = np.array_split(pair[:, np.argsort(pair[0], kind="stable")], count, axis=1)
    return np.stack([np.sqrt(np.mean(np.square(group), axis=1)) for group in groups], axis=1)


def by_lead_time(results: Results, time_step: float, name: str, label: str) -> Draw:
    """The mean over cases of a rollout's score at each lead time, of every run that has it."""

    def draw(figure: FigureBase) -> None:
        axes = line_axes(figure, "lead time", label)
        _lines(axes, results, time_step, name)
        if name == "model" and results[0].rollout is not None:
            _line(axes, time_step, results[0].rollout["persistence"], color=SOFT, linestyle=":")
        logarithmic(axes, "y")

    return draw


def covered(results: Results, time_step: float, levels: Sequence[float]) -> Draw:
    """The share of the domain inside the draws' interval at each lead time, with the levels that it should have."""

    def draw(figure: FigureBase) -> None:
        axes = line_axes(figure, "lead time", "share inside the draws' interval")
        _lines(axes, results, time_step, DRAWN + "coverage")
        for level in sorted(set(levels)):
            axes.axhline(level, color=SOFT, linewidth=1, linestyle="--")
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.set_ylim(0, 1.03)

    return draw


def _lines(axes: Axes, results: Results, time_step: float, name: str) -> None:
    for position, entry in enumerate(results):
        if entry.rollout is not None and name in entry.rollout:
            _line(axes, time_step, entry.rollout[name], color=colour(position))


def _line(axes: Axes, time_step: float, values: Array, **style: Any) -> None:
    mean = np.mean(values, axis=0)
    axes.plot(time_step * np.arange(1, len(mean) + 1), np.where(np.isfinite(mean), mean, np.nan), **style)


def summary(comparison: Comparison, unit: str) -> Draw:
    """Cost against CRPS beside reliability, with a legend: the picture to show around."""

    def draw(figure: FigureBase) -> None:
        left, right, below = _parts(figure, len(comparison.runs))
        without_legend(pareto(comparison, unit))(left)
        without_legend(reliability(comparison.tests[0].results))(right)
        for part, text in ((left, "Cost and CRPS"), (right, "Reliability")):
            part.suptitle(text, x=0.02, ha="left", fontsize=9)
        handles = [
            Line2D([], [], color=colour(position), marker=marker(position), markersize=5, label=plain(label))
            for position, label in enumerate(comparison.labels)
        ]
        below.legend(handles=handles, loc="center", ncols=COLUMNS, fontsize=8)

    return draw


def legend_rows(runs: int) -> int:
    """How many rows the picture's legend has."""
    return -(-runs // COLUMNS)


def _parts(figure: FigureBase, runs: int) -> tuple[SubFigure, SubFigure, SubFigure]:
    heights = [3.2, 0.1 + 0.2 * legend_rows(runs)]
    above, below = figure.subfigures(2, 1, height_ratios=heights, squeeze=False)[:, 0]
    left, right = above.subfigures(1, 2, squeeze=False)[0]
    return left, right, below
