"""The panels of a case: lines in one dimension, images in two, the middle plane in three."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from experiments.report import drawing
from experiments.report.case import Case
from experiments.report.drawing import plain
from experiments.report.words import Quantity, number, with_unit
from pnol_jax.grids import Axis, Grid

Array = NDArray[Any]
PIXELS = 160  # of an image, a side
LINES = 2.4  # inches that a drawing of lines is high
INPUTS = 4  # input channels drawn of a case


@dataclass(frozen=True)
class Panel:
    """One drawing: what it is called, what it shows to those who do not see it, how it is drawn, how wide it is."""

    title: str
    alt: str
    draw: drawing.Draw
    wide: bool = False


def panels(case: Case) -> list[Panel]:
    """The panels of a case, inputs first."""
    return _lines(case) if case.grid.ndim == 1 else _images(case)


def height(grid: Grid, wide: bool = False) -> float:
    """How high a panel is, in inches; a wide one holds lines, also where the domain is flat."""
    own = LINES if grid.ndim == 1 else 0.8 + 1.7 * _proportion(grid)
    return max(own, LINES) if wide else own


def _proportion(grid: Grid) -> float:
    return float(np.clip(grid.axes[1].length / grid.axes[0].length, 0.4, 1.6))


# --- one dimension ---


def _lines(case: Case) -> list[Panel]:
    x, unit = case.grid.axes[0].points, case.output
    given = [
        Panel(*_named("Input", what, field), _plot(case, [(field, drawing.TRUTH, "")], what))
        for what, field in case.inputs[:INPUTS]
    ]
    parts = [(case.std, drawing.MEAN, "total")]
    if np.any(case.epistemic > 0):
        parts += [
            (np.sqrt(case.aleatoric), drawing.ERROR, "aleatoric"),
            (np.sqrt(case.epistemic), "#009E73", "epistemic"),
        ]
    return [
        *given,
        Panel("Truth, mean and band", _cut_alt(case, "the axis"), lambda figure: _prediction(figure, case, x), True),
        Panel(*_named("Error", unit, case.error), _plot(case, [(case.error, drawing.ERROR, "")], unit, zero=True)),
        Panel(*_named("Standard deviation", unit, case.std), _plot(case, parts, unit, top=case.scales.std)),
        Panel(
            *_named(f"Half-width, {case.band}", unit, case.half),
            _plot(case, [(case.half, drawing.MEAN, "")], unit, top=case.scales.half),
        ),
    ]


def _plot(
    case: Case, curves: Sequence[tuple[Array, str, str]], what: Quantity, zero: bool = False, top: float | None = None
) -> drawing.Draw:
    def draw(figure: FigureBase) -> None:
        axes = _line_axes(figure, case, what)
        for values, colour, label in curves:
            axes.plot(case.grid.axes[0].points, values, color=colour, label=label)
        if zero:
            axes.axhline(0, color=drawing.SOFT, linewidth=0.7)
            axes.set_ylim(-1.08 * case.scales.error, 1.08 * case.scales.error)
        if top is not None:
            axes.set_ylim(0, 1.08 * top)
        if len(curves) > 1:
            drawing.legend(axes, "lower")

    return draw


def _line_axes(figure: FigureBase, case: Case, what: Quantity) -> Axes:
    axes = figure.add_subplot()
    axes.grid(True)
    axes.set_xlim(0, case.grid.axes[0].length)
    axes.set_xlabel(plain(case.axes[0].label))
    axes.set_ylabel(plain(what.label))
    return axes


def _prediction(figure: FigureBase, case: Case, x: Array, where: tuple[int, ...] = ()) -> None:
    """Truth, mean and band along the first axis, at the given place on the others."""
    index: tuple[Any, ...] = (slice(None), *where)
    axes = _line_axes(figure, case, case.output)
    axes.fill_between(
        x, case.lower[index], case.upper[index], color=drawing.BAND, alpha=0.3, linewidth=0, label=case.band
    )
    std = case.std[index]
    axes.fill_between(
        x,
        case.mean[index] - std,
        case.mean[index] + std,
        color=drawing.MEAN,
        alpha=0.35,
        linewidth=0,
        label="mean ± std",
    )
    axes.plot(x, case.truth[index], color=drawing.TRUTH, label="truth")
    axes.plot(x, case.mean[index], color=drawing.MEAN, linestyle="--", label="mean")
    drawing.legend(axes, "lower")


def _named(what: str, quantity: Quantity, field: Array) -> tuple[str, str]:
    """The title of a panel and its alternative text."""
    alt = f"{what} of {quantity.label}: from {number(float(np.min(field)))} to {number(float(np.max(field)))}."
    return what, alt


def _cut_alt(case: Case, where: str) -> str:
    inside = np.mean((case.lower <= case.truth) & (case.truth <= case.upper))
    return (
        f"Truth, mean and {case.band} of {case.output.label} along {where}. "
        f"In the whole case the truth is inside at {100 * inside:.1f}% of the points."
    )


# --- two and three dimensions ---


def _images(case: Case) -> list[Panel]:
    output, scales = case.output, case.scales
    low, high = float(np.min(case.truth)), float(np.max(case.truth))
    image = functools.partial(panel_image, case)
    given = [
        Panel(*_named("Input: " + what.name, what, field), image(field, what, *_given(case, what, field)))
        for what, field in case.inputs[:INPUTS]
    ]
    middle = tuple(axis.n // 2 for axis in case.grid.axes[1:])
    return [
        *given,
        Panel(*_named("Truth", output, case.truth), image(case.truth, output, drawing.FIELD, low, high)),
        Panel(*_named("Mean", output, case.mean), image(case.mean, output, drawing.FIELD, low, high)),
        Panel(
            *_named("Error (mean − truth)", output, case.error),
            image(case.error, output, drawing.SIGNED, -scales.error, scales.error, line=True),
        ),
        Panel(
            *_named("Standard deviation", output, case.std), image(case.std, output, drawing.POSITIVE, 0, scales.std)
        ),
        Panel(
            *_named(f"Half-width, {case.band}", output, case.half),
            image(case.half, output, drawing.POSITIVE, 0, scales.half),
        ),
        Panel(
            "Along the dotted line: " + _place(case, middle),
            _cut_alt(case, f"the line {_place(case, middle)}"),
            lambda figure: _prediction(figure, case, case.grid.axes[0].points, middle),
            True,
        ),
    ]


def _given(case: Case, what: Quantity, field: Array) -> tuple[str, float, float]:
    """Colours of an input: those of the truth where it is the same quantity."""
    if what == case.output:
        return drawing.FIELD, float(np.min(case.truth)), float(np.max(case.truth))
    return drawing.GIVEN, float(np.min(field)), float(np.max(field))


def _place(case: Case, middle: Sequence[int]) -> str:
    """Where the line lies, in coordinates."""
    pairs = zip(case.axes[1:], case.grid.axes[1:], middle, strict=True)
    return ", ".join(f"{what.name} = {with_unit(number(axis.coordinates[i]), what.unit)}" for what, axis, i in pairs)


def panel_image(
    case: Case, field: Array, what: Quantity, colours: str, low: float, high: float, line: bool = False
) -> Callable[[FigureBase], None]:
    """A field of a case as an image, of the middle plane in three dimensions; `line` marks where it is cut."""

    def draw(figure: FigureBase) -> None:
        axes = figure.add_subplot()
        x, y = case.grid.axes[:2]
        plane = field if case.grid.ndim == 2 else field[..., case.grid.axes[2].n // 2]
        shown = axes.imshow(
            _pixels(plane, x, y).T,
            origin="lower",
            extent=(0, x.length, 0, y.length),
            interpolation="none",
            cmap=colours,
            vmin=low,
            vmax=high if high > low else low + 1,
            aspect="auto",
        )
        axes.set_box_aspect(_proportion(case.grid))
        axes.spines[:].set_visible(False)
        if line:
            axes.axhline(y.coordinates[y.n // 2], color=drawing.CUT, linewidth=0.9, linestyle=":")
        axes.set_xlabel(plain(case.axes[0].label), labelpad=1)
        axes.set_ylabel(plain(case.axes[1].label), labelpad=1)
        axes.xaxis.set_major_locator(MaxNLocator(3))
        axes.yaxis.set_major_locator(MaxNLocator(3))
        bar = figure.colorbar(shown, cax=axes.inset_axes((1.05, 0, 0.055, 1)), ticks=MaxNLocator(4))
        bar.outline.set_visible(False)
        if what.unit:
            bar.ax.set_title(plain(what.unit), fontsize=8, loc="left")

    return draw


def _pixels(plane: Array, x: Axis, y: Axis) -> Array:
    """The field at the nearest point of each pixel: points are cells, however they are spaced."""
    return plane[np.ix_(_nearest(x), _nearest(y))]


def _nearest(axis: Axis) -> NDArray[np.intp]:
    at = (np.arange(PIXELS) + 0.5) / PIXELS * axis.length
    distance = np.abs(at[:, None] - axis.points)
    if axis.kind == "periodic":
        distance = np.minimum(distance, axis.length - distance)
    nearest: NDArray[np.intp] = np.argmin(distance, axis=1)
    return nearest
