"""One picture of a run, to be shown by itself: the median case of its last test set, all panels in one row or two."""

from collections.abc import Sequence

from matplotlib.figure import FigureBase

from experiments.report import drawing
from experiments.report.case import shown_cases
from experiments.report.panels import height, panels
from experiments.report.words import Names
from experiments.results import TestResults

WIDTH, COLUMNS = 2.3, 4  # inches of a panel, and panels in a row


def picture(results: Sequence[TestResults], about: Names, level: float) -> bytes:
    """An SVG file on white ground. Cases of one output channel show that one, others their first."""
    entry = results[-1]
    named = {name: channels for name, _, channels in shown_cases(entry, about, level)}
    drawn = panels(named.get("median", named["best"])[0])
    rows = [drawn[start : start + COLUMNS] for start in range(0, len(drawn), COLUMNS)]

    def draw(whole: FigureBase) -> None:
        for row, subfigure in zip(rows, whole.subfigures(len(rows), 1, squeeze=False)[:, 0], strict=True):
            widths = [2.4 if panel.wide else 1.0 for panel in row]
            widths += [COLUMNS - sum(widths)] if sum(widths) < COLUMNS else []
            for panel, part in zip(row, subfigure.subfigures(1, len(widths), width_ratios=widths), strict=False):
                panel.draw(part)
                part.suptitle(drawing.plain(panel.title), x=0.02, ha="left", fontsize=8.5)

    return drawing.svg(draw, WIDTH * COLUMNS, height(entry.grid) * len(rows), ground="white")
