"""The page of a comparison, with its numbers and one picture beside it."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import FigureBase
from matplotlib.lines import Line2D

from experiments.comparison import charts, gallery, tables
from experiments.comparison.compared import Comparison, Scored
from experiments.report import drawing
from experiments.report.markup import Html, element, figure, join, paragraph, picture, section
from experiments.report.page import page
from experiments.report.uncertainty import ranks, reliability
from experiments.report.words import listed, number
from experiments.results import DRAWN
from pnol_jax.files import write_atomically

STYLE = Path(__file__).with_name("style.css")
SIZE, LARGE = (3.45, 2.7), (4.8, 3.4)  # inches of a chart
PARTS = {
    "scores": "Scores",
    "cost": "Cost",
    "calibration": "Calibration",
    "rollout": "Rollout",
    "case": "One case",
    "runs": "Runs",
}
MARKS = (
    "Intervals hold 95% over the cases, drawn anew (bootstrap). “Best” is the smallest loss of a column: of a share "
    "the distance to the level that its run promises, of spread / skill that to 1. “Tied” cannot be told from it by "
    "the differences on the same cases. With 95% confidence the run that is best on all cases, not only on these, is "
    "marked with one of the two. The others are worse by more than chance between cases, or not ranked: sharpness and "
    "width say something only where coverage holds, and a band is ranked by what it promises. Another seed of training "
    "may turn what stands here; only more runs tell."
)


def write_comparison(path: Path, comparison: Comparison) -> Path:
    """Write the page, and beside it its numbers (.json) and its picture (.svg); the page's path."""
    unit = comparison.runs[0].about.unit
    numbers = json.dumps(comparison.numbers(), indent=2, allow_nan=False)
    write_atomically(path.with_suffix(".json"), numbers + "\n")
    height = 3.6 + 0.2 * charts.legend_rows(len(comparison.runs))
    write_atomically(
        path.with_suffix(".svg"), drawing.svg(charts.summary(comparison, unit), 9.2, height, ground="white")
    )
    write_atomically(path, _page(comparison, unit))
    return path


def _page(comparison: Comparison, unit: str) -> str:
    key = _key(comparison.labels)
    content = {
        "scores": [paragraph(MARKS, class_="note"), *_each(comparison, _scores)],
        "cost": _cost(comparison, unit, key),
        "calibration": _each(comparison, lambda _, scored: [_calibration(scored, unit, key)]),
        "rollout": _each(comparison, lambda _, scored: _rollout(comparison, scored, key)),
        "case": _case(comparison),
        "runs": [tables.about(comparison), *_left_out(comparison)],
    }
    shown = {anchor: part for anchor, part in content.items() if part}
    what = comparison.runs[0].about.predicted
    body = [
        element("h1", f"{len(comparison.runs)} runs compared"),
        paragraph(f"Predictions of {what} on the same test cases: {_tests(comparison)}.", class_="about"),
        paragraph(verdict(comparison), class_="verdict"),
        element("nav", *(element("a", PARTS[anchor], href=f"#{anchor}") for anchor in shown)),
        *(section(anchor, PARTS[anchor], *part) for anchor, part in shown.items()),
    ]
    return page(f"{len(comparison.runs)} runs compared", body, STYLE.read_text(encoding="utf-8"))


def verdict(comparison: Comparison) -> str:
    """Who is ahead, by how much, and who is fastest."""
    first = comparison.tests[0]
    stands = dict(zip(comparison.labels, first.standings["crps"], strict=True))
    best = next((label for label, stand in stands.items() if stand is not None and stand.best), None)
    if best is None:
        return f"No run of them can be ranked by CRPS on {first.test.title}."
    lowest = stands[best]
    assert lowest is not None
    tied = [label for label, stand in stands.items() if stand is not None and stand.tied]
    text = f"{best} has the lowest CRPS on {first.test.title}, {number(lowest.estimate.value)}"
    text += f"; {listed(tied)} cannot be told from it." if tied else ", by more than chance between cases."
    times = [cost.moments.median for cost in comparison.costs]
    fastest = times.index(min(times))
    others = [cost.moments.low for index, cost in enumerate(comparison.costs) if index != fastest]
    if any(low <= comparison.costs[fastest].moments.high for low in others):
        return f"{text} None is clearly the fastest: one case takes {number(min(times))} to {number(max(times))} ms."
    return f"{text} {comparison.labels[fastest]} answers fastest, one case in {number(times[fastest])} ms."


def _tests(comparison: Comparison) -> str:
    return listed([f"{scored.test.title}, {len(scored.test.cases)} cases" for scored in comparison.tests])


def _each(comparison: Comparison, part: Callable[[Comparison, Scored], Sequence[Html]]) -> list[Html]:
    """The part of every test set, each under its title where there are several."""
    found: list[Html] = []
    for scored in comparison.tests:
        pieces = part(comparison, scored)
        if pieces and len(comparison.tests) > 1:
            found.append(element("h3", scored.test.title))
        found += pieces
    return found


def _scores(comparison: Comparison, scored: Scored) -> list[Html]:
    return [*tables.scores(comparison, scored), *tables.against(comparison, scored)]


def _cost(comparison: Comparison, unit: str, key: Html) -> list[Html]:
    drawn = _picture(
        charts.pareto(comparison, unit), "CRPS against the time of a prediction, a mark for each run.", *LARGE
    )
    on_front = listed([comparison.labels[position] for position in comparison.front])
    caption = (
        f"CRPS on {comparison.tests[0].test.title} against the time of a prediction, with intervals and quartiles; of "
        "differences the tables above say more than intervals that overlap. On the front (dotted), where no other run "
        f"is both faster and better: {on_front}."
    )
    return [element("div", tables.costs(comparison), class_="costs"), figure([key, drawn], caption)]


def _calibration(scored: Scored, unit: str, key: Html) -> Html:
    results = scored.results
    drawn = [
        (reliability(results), "Share of truths inside central intervals against their level."),
        (charts.spread_skill(results, unit), "Error against spread of groups of cases."),
        (charts.pit(results), "Histogram of the probability integral transform."),
    ]
    caption = (
        "Reliability; error against spread, of cases in groups of about equal spread; probability integral transform: "
        "dashed is honest."
    )
    if any(entry.ranks is not None for entry in results):
        drawn.append((ranks(results), "Histogram of the truth's rank among draws."))
        caption += " Of draws: the truth's rank among them."
    return figure([key, *(_picture(charts.without_legend(draw), alt) for draw, alt in drawn)], caption)


def _rollout(comparison: Comparison, scored: Scored, key: Html) -> list[Html]:
    results, time_step = scored.results, comparison.runs[0].about.time_step
    if time_step is None:
        return []
    drawn = [_picture(charts.by_lead_time(results, time_step, "model", "relative L2 error"), "Error by lead time.")]
    caption = "By lead time, means over the cases: the mean fed with itself, dotted the first state kept."
    if any(DRAWN + "crps" in (entry.rollout or {}) for entry in results):
        crps = charts.by_lead_time(results, time_step, DRAWN + "crps", "CRPS of draws")
        held = charts.covered(results, time_step, [run.level for run in comparison.runs])
        drawn += [_picture(crps, "CRPS of draws by lead time."), _picture(held, "Coverage of draws by lead time.")]
        caption += " Of draws their CRPS and the share inside their interval, dashed its level."
    return [figure([key, *drawn], caption)]


def _case(comparison: Comparison) -> list[Html]:
    first = comparison.tests[0]
    errors = [float(entry.figures["relative_l2"][comparison.case]) for entry in first.results]
    text = (
        f"Case {comparison.case} of {first.test.title}, the median of {comparison.labels[0]} by relative L2 error. "
        "Truth, means and samples share one scale, standard deviations another."
    )
    return [paragraph(text), *gallery.gallery(comparison.labels, comparison.shown, errors)]


def _left_out(comparison: Comparison) -> list[Html]:
    if not comparison.left_out:
        return []
    return [paragraph(f"Left out, since not all runs were tested on it: {listed(comparison.left_out)}.", class_="note")]


def _picture(draw: drawing.Draw, alt: str, width: float = SIZE[0], height: float = SIZE[1]) -> Html:
    return picture(drawing.svg(draw, width, height), alt)


def _key(labels: Sequence[str]) -> Html:
    """What the colours and markers of all charts stand for."""
    named = (
        element("span", picture(drawing.svg(_mark(position), 0.34, 0.2), f"mark of {label}"), label)
        for position, label in enumerate(labels)
    )
    return element("div", join(named), class_="key")


def _mark(position: int) -> drawing.Draw:
    def draw(whole: FigureBase) -> None:
        style: dict[str, Any] = {"color": drawing.colour(position), "marker": drawing.marker(position)}
        whole.add_artist(Line2D([0.08, 0.5, 0.92], [0.5] * 3, markevery=[1], markersize=5, **style))

    return draw
