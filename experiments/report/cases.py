"""Pictures of the best, the median and the worst case of every test set."""

from collections.abc import Sequence

from matplotlib.figure import FigureBase

from experiments.report import drawing
from experiments.report.case import shown_cases
from experiments.report.markup import Html, element, figure, paragraph, picture
from experiments.report.panels import Panel, height, panels
from experiments.report.words import Names, percent, title
from experiments.results import TestResults
from pnol_jax.grids import Grid

WIDTH, WIDE = 2.6, 5.28  # inches of a panel


def pictures(results: Sequence[TestResults], about: Names, level: float) -> list[Html]:
    """A figure a case; what is uncertain or wrong shares its scales within a test set."""
    shared = "Error, standard deviation and half-width share their scales in a test set, the other colours in a case."
    content: list[Html] = [paragraph(f"Chosen by the relative L2 error of the mean. {shared}")]
    for entry in results:
        content.append(element("h3", title(entry)))
        for name, case_number, channels in shown_cases(entry, about, level):
            error = percent(float(entry.figures["relative_l2"][case_number]))
            caption = f"{name.capitalize()} of {len(entry)}: case {case_number}, relative L2 error {error}."
            drawn = [_picture(panel, entry.grid) for case in channels for panel in panels(case)]
            content.append(figure(drawn, caption, "case"))
    return content


def _picture(panel: Panel, grid: Grid) -> Html:
    def draw(whole: FigureBase) -> None:
        panel.draw(whole)
        whole.suptitle(drawing.plain(panel.title), x=0.02, ha="left", fontsize=9)

    drawn = drawing.svg(draw, WIDE if panel.wide else WIDTH, height(grid, panel.wide))
    return picture(drawn, f"{panel.title}. {panel.alt}", "wide" if panel.wide else "")
