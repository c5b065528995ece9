"""Drawings of whether uncertainty is as large as the error, of every test set together."""

from typing import Any

import numpy as np
from matplotlib.figure import FigureBase
from matplotlib.ticker import PercentFormatter

from experiments.report.curves import Results, finite, line_axes
from experiments.report.drawing import SOFT, Draw, colour, legend, logarithmic, marker, plain
from experiments.report.words import Names, title
from experiments.results import DRAWN, LEVELS, PIT_EDGES
from pnol_jax import scores


def reliability(results: Results) -> Draw:
    """The share of truths inside central intervals against the share that they are said to hold."""

    def draw(figure: FigureBase) -> None:
        axes = line_axes(figure, "level of the interval", "share of the domain inside")
        axes.plot([0, 1], [0, 1], color=SOFT, linewidth=1, linestyle="--", label="honest")
        for position, entry in enumerate(results):
            style: dict[str, Any] = {"color": colour(position), "marker": marker(position), "markersize": 3.5}
            axes.plot(LEVELS, entry.reliability, label=plain(title(entry)), **style)
        axes.annotate("too cautious", (0.05, 0.62), color=SOFT, fontsize=7.5)
        axes.annotate("overconfident", (0.66, 0.34), color=SOFT, fontsize=7.5)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(PercentFormatter(1))
        axes.set(xlim=(0, 1), ylim=(0, 1))
        legend(axes)

    return draw


def pit(results: Results) -> Draw:
    """The histogram of the truths' ranks in what was predicted: flat is honest."""

    def draw(figure: FigureBase) -> None:
        axes = line_axes(figure, "predicted probability of a value below the truth", "density")
        axes.axhline(1, color=SOFT, linewidth=1, linestyle="--", label="honest")
        for position, entry in enumerate(results):
            density = entry.pit / np.diff(PIT_EDGES)
            axes.stairs(density, PIT_EDGES, color=colour(position), alpha=0.16, fill=True)
            axes.stairs(density, PIT_EDGES, color=colour(position), linewidth=1.4, label=plain(title(entry)))
        axes.set(xlim=(0, 1), ylim=(0, None))
        legend(axes)

    return draw


def spread_skill(results: Results, unit: str) -> Draw:
    """The error that was predicted for each case against the one that it has."""

    def draw(figure: FigureBase) -> None:
        bracket = f" [{unit}]" if unit else ""
        axes = line_axes(figure, f"predicted error of a case (spread){bracket}", f"its error (RMSE){bracket}")
        every = []
        for position, entry in enumerate(results):
            pair = np.stack([entry.figures["spread"], entry.figures["rmse"]])
            pair = pair[:, np.all(np.isfinite(pair) & (pair > 0), axis=0)]
            style: dict[str, Any] = {
                "color": colour(position),
                "marker": marker(position),
                "markersize": 3.5,
                "alpha": 0.6,
            }
            axes.plot(*pair, linestyle="", markeredgewidth=0, label=plain(title(entry)), **style)
            every.append(pair.ravel())
        values = np.concatenate(every)
        low, high = (float(np.min(values)), float(np.max(values))) if values.size else (0.1, 1.0)
        limits = (low / 1.15, high * 1.15)
        axes.plot(limits, limits, color=SOFT, linewidth=1, linestyle="--", label="honest", zorder=1)
        axes.set(xlim=limits, ylim=limits)
        if high > 10 * low:
            logarithmic(axes, "xy")
        legend(axes)

    return draw


def selective(results: Results, unit: str) -> Draw:
    """The mean error of the share of the cases that is least uncertain, and of that which is least wrong."""

    def draw(figure: FigureBase) -> None:
        axes = line_axes(figure, "share of the cases kept", f"their mean RMSE{f' [{unit}]' if unit else ''}")
        for position, entry in enumerate(results):
            errors, spread = (finite(entry.figures[name]) for name in ("rmse", "spread"))
            if len(errors) != len(spread) or len(errors) < 2:
                continue
            share = np.arange(1, len(errors) + 1) / len(errors)
            style: dict[str, Any] = {"color": colour(position), "linewidth": 1.4}
            axes.plot(share, scores.risk_coverage(errors, spread), label=plain(title(entry)), **style)
            axes.plot(share, scores.risk_coverage(errors, errors), linestyle=":", **style)
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.set(xlim=(0, 1), ylim=(0, None))
        legend(axes)

    return draw


def ranks(results: Results) -> Draw:
    """The histogram of the truth's rank among draws: flat is honest, a valley in the middle is overconfident."""

    def draw(figure: FigureBase) -> None:
        axes = line_axes(figure, "rank of the truth among the draws, from 0 to 1", "density")
        axes.axhline(1, color=SOFT, linewidth=1, linestyle="--", label="honest")
        for position, entry in enumerate(results):
            if entry.ranks is not None:
                edges = np.linspace(0, 1, len(entry.ranks) + 1)
                shade: dict[str, Any] = {"color": colour(position), "label": plain(title(entry))}
                axes.stairs(entry.ranks * len(entry.ranks), edges, linewidth=1.4, **shade)
        axes.set(xlim=(0, 1), ylim=(0, None))
        legend(axes)

    return draw


def spread_by_wave(results: Results, about: Names) -> Draw:
    """How much draws differ over how wrong their mean is, shell by shell of wave numbers; the first output."""

    def draw(figure: FigureBase) -> None:
        axes = line_axes(figure, f"wave number [cycles per {about.axes[0].unit or 'unit of length'}]", "spread / error")
        axes.axhline(1, color=SOFT, linewidth=1, linestyle="--", label="honest")
        for position, entry in enumerate(results):
            found = entry.spectrum
            if "spread" in found.power and found.complete > 2:
                kept = slice(1, found.complete)
                parts = (found.power[name][kept, 0] for name in ("spread", "sample_error"))
                ratio = np.sqrt(np.divide(*(np.where(part > 0, part, np.nan) for part in parts)))
                axes.plot(found.waves[kept], ratio, color=colour(position), label=plain(title(entry)))
        logarithmic(axes, "xy")
        legend(axes)

    return draw


def held(results: Results, time_step: float, level: float) -> Draw:
    """The share of trajectories that are wholly inside the band by lead time; dotted, of the adapted band."""

    def draw(figure: FigureBase) -> None:
        axes = line_axes(figure, "lead time", "cases wholly inside the band")
        axes.axhline(level, color=SOFT, linewidth=1, linestyle="--", label="level")
        for position, entry in enumerate(results):
            for name, line in (("inside", "-"), ("adapted", ":")):
                if entry.rollout is not None and name in entry.rollout:
                    share = entry.rollout[name].mean(axis=0)
                    time = time_step * np.arange(1, len(share) + 1)
                    label = plain(title(entry)) if name == "inside" else None
                    axes.plot(time, share, color=colour(position), linestyle=line, label=label)
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.set_ylim(0, 1.03)
        legend(axes)

    return draw


def rollout_spread(results: Results, time_step: float) -> Draw:
    """Root mean square error of the draws' mean by lead time and, dashed, the spread around it."""

    def draw(figure: FigureBase) -> None:
        axes = line_axes(figure, "lead time", "error of the draws' mean")
        for position, entry in enumerate(results):
            for name, line in (("rmse", "-"), ("spread", "--")):
                if entry.rollout is not None and DRAWN + name in entry.rollout:
                    size = np.sqrt(np.mean(np.square(entry.rollout[DRAWN + name]), axis=0))
                    time = time_step * np.arange(1, len(size) + 1)
                    label = plain(title(entry)) + ("" if name == "rmse" else ", spread")
                    axes.plot(time, size, color=colour(position), linestyle=line, label=label)
        logarithmic(axes, "y")
        legend(axes)

    return draw
