"""One picture of a run, to be shown by itself: the median case of its last test set, its panels in rows of four."""

from collections.abc import Sequence

from matplotlib.figure import FigureBase

from experiments.report import drawing
from experiments.report.case import shown_cases
from experiments.report.panels import Panel, height, panels
from experiments.report.words import Names
from experiments.results import TestResults

WIDTH, COLUMNS = 2.6, 4  # inches of a panel, and panels in a row


def picture(results: Sequence[TestResults], about: Names, level: float) -> bytes:
    """An SVG file on white ground. Cases of one output channel show that one, others their first."""
    entry = results[-1]
    named = {name: channels for name, _, channels in shown_cases(entry, about, level)}
    rows = in_rows(panels(named.get("median", named["best"])[0]))

    heights = [height(entry.grid, any(panel.wide for panel in row)) for row in rows]

    def draw(whole: FigureBase) -> None:
        parts_of = whole.subfigures(len(rows), 1, squeeze=False, height_ratios=heights)[:, 0]
        for row, subfigure in zip(rows, parts_of, strict=True):
            widths = [_columns(panel) for panel in row]
            rest = COLUMNS - sum(widths)
            parts = subfigure.subfigures(
                1, len(row) + (rest > 0), width_ratios=widths + [rest] * (rest > 0), squeeze=False
            )
            for panel, part in zip(row, parts[0], strict=False):
                panel.draw(part)
                part.suptitle(drawing.plain(panel.title), x=0.02, ha="left", fontsize=9)

    return drawing.svg(draw, WIDTH * COLUMNS, sum(heights), ground="white")


def _columns(panel: Panel) -> int:
    return 2 if panel.wide else 1


def in_rows(drawn: Sequence[Panel]) -> list[list[Panel]]:
    """The panels in their order, a new row where the next one does not fit."""
    rows: list[list[Panel]] = [[]]
    for panel in drawn:
        if sum(map(_columns, rows[-1])) + _columns(panel) > COLUMNS:
            rows.append([])
        rows[-1].append(panel)
    return rows
