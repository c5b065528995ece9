"""One test case as every run sees it: truth, mean, draws and standard deviation in small panels with shared scales."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import FigureBase
from numpy.typing import NDArray

from experiments.comparison.one_case import Shown
from experiments.report import drawing
from experiments.report.curves import line_axes
from experiments.report.markup import Html, figure, picture
from experiments.report.panels import height, panel_image
from experiments.report.words import Quantity, number, percent

Array = NDArray[Any]
WIDTH, WIDE = 2.6, 5.28  # inches of a panel


def gallery(labels: Sequence[str], shown: Sequence[Shown], errors: Sequence[float]) -> list[Html]:
    """A figure of what was asked, and one of each run, whose caption gives its error on this case."""
    scales = _scales(shown)
    found = [figure(_asked(shown[0], scales), "What was asked, and the truth.", "case")]
    for label, one, error in zip(labels, shown, errors, strict=True):
        drawn = list(_lines(label, one, scales) if one.case.grid.ndim == 1 else _images(label, one, scales))
        without = "" if one.samples is not None else " It draws no samples."
        found.append(figure(drawn, f"{label}: relative L2 error {percent(error)}.{without}", "case"))
    return found


def _scales(shown: Sequence[Shown]) -> tuple[float, float, float]:
    """Least and largest value of truth, means and draws, and the largest standard deviation, over all runs."""
    fields = [field for one in shown for field in (one.case.truth, one.case.mean, *_draws(one))]
    values = np.concatenate([field[np.isfinite(field)].ravel() for field in fields])
    std = np.concatenate([one.case.std[np.isfinite(one.case.std)].ravel() for one in shown])
    low, high = (values.min(), values.max()) if values.size else (0.0, 0.0)
    return float(low), float(high), float(std.max(initial=0)) or 1.0


def _draws(one: Shown) -> Sequence[Array]:
    return () if one.samples is None else list(one.samples)


def _asked(one: Shown, scales: tuple[float, float, float]) -> list[Html]:
    low, high, _ = scales
    case = one.case
    given = [(f"Input: {what.name}", what, field) for what, field in case.inputs]
    if case.grid.ndim == 1:
        named = [*given, ("Truth", case.output, case.truth)]
        return [_panel(one, name, what, field, _curve(one, what, field)) for name, what, field in named]
    drawn = [
        _panel(one, name, what, field, panel_image(case, field, what, drawing.GIVEN, *_ends(field)))
        for name, what, field in given
    ]
    truth = panel_image(case, case.truth, case.output, drawing.FIELD, low, high)
    return [*drawn, _panel(one, "Truth", case.output, case.truth, truth)]


def _ends(field: Array) -> tuple[float, float]:
    return float(np.min(field)), float(np.max(field))


def _images(label: str, one: Shown, scales: tuple[float, float, float]) -> Iterator[Html]:
    low, high, top = scales
    case, what = one.case, one.case.output
    fields = {"Mean": case.mean} | {f"Sample {i}": field for i, field in enumerate(_draws(one), 1)}
    for name, field in fields.items():
        image = panel_image(case, field, what, drawing.FIELD, low, high)
        yield _panel(one, name, what, field, image, label)
    image = panel_image(case, case.std, what, drawing.POSITIVE, 0, top)
    yield _panel(one, "Standard deviation", what, case.std, image, label)


def _lines(label: str, one: Shown, scales: tuple[float, float, float]) -> Iterator[Html]:
    low, high, top = scales
    case, x = one.case, one.case.grid.axes[0].points

    def predicted(whole: FigureBase) -> None:
        axes = line_axes(whole, case.axes[0].label, case.output.label)
        axes.fill_between(x, case.lower, case.upper, color=drawing.BAND, alpha=0.35, linewidth=0, label=case.band)
        for i, field in enumerate(_draws(one)):
            axes.plot(x, field, color=drawing.ERROR, linewidth=0.8, label="samples" if i == 0 else None)
        axes.plot(x, case.truth, color=drawing.TRUTH, label="truth")
        axes.plot(x, case.mean, color=drawing.MEAN, linestyle="--", label="mean")
        margin = 0.05 * (high - low or 1.0)
        axes.set(xlim=(0, case.grid.axes[0].length), ylim=(low - margin, high + margin))
        drawing.legend(axes, "lower")

    yield _panel(one, "Truth, mean and samples", case.output, case.mean, predicted, label, WIDE)
    spread = _curve(one, case.output, case.std, 1.08 * top)
    yield _panel(one, "Standard deviation", case.output, case.std, spread, label)


def _curve(one: Shown, what: Quantity, field: Array, top: float | None = None) -> drawing.Draw:
    def draw(whole: FigureBase) -> None:
        axes = line_axes(whole, one.case.axes[0].label, what.label)
        axes.plot(one.case.grid.axes[0].points, field, color=drawing.TRUTH if top is None else drawing.MEAN)
        axes.set_xlim(0, one.case.grid.axes[0].length)
        if top is not None:
            axes.set_ylim(0, top)

    return draw


def _panel(
    one: Shown, name: str, what: Quantity, field: Array, draw: drawing.Draw, label: str = "", width: float = WIDTH
) -> Html:
    def titled(whole: FigureBase) -> None:
        draw(whole)
        whole.suptitle(drawing.plain(name), x=0.02, ha="left", fontsize=9)

    of = f", {label}" if label else ""
    alt = f"{name} of {what.label}{of}: from {number(float(np.min(field)))} to {number(float(np.max(field)))}."
    return picture(drawing.svg(titled, width, height(one.case.grid)), alt, "wide" if width == WIDE else "")
