"""The quantities that somebody decides by: how well each was said."""

from collections.abc import Mapping, Sequence

from experiments.model import Model
from experiments.report import markup
from experiments.report.markup import Html, element, join
from experiments.report.words import Names, number, percent, title, with_unit
from experiments.results import TestResults
from pnol_jax.risk import Risk

PARTS: Mapping[str, str] = {
    "mean": "predicted, mean over cases",
    "truth": "true, mean over cases",
    "error": "mean distance of the two",
    "std": "mean predicted deviation",
    "coverage": "share of cases whose truth is in the normal interval at calibration.level",
    "tail": "predicted mean of the largest outcomes, beyond the risk's own level",
    "exceedance": "predicted probability of exceeding the threshold, mean over cases",
    "exceeded": "share of cases that exceed it",
    "brier": "Brier score of that probability, lower is better",
}
STATISTICS: Mapping[str, str] = {
    "mean": "mean",
    "largest": "largest value",
    "smallest": "smallest value",
    "share": "share above the threshold",
}
SHARES = ("coverage", "exceedance", "exceeded")


def tables(results: Sequence[TestResults], model: Model, about: Names) -> list[Html]:
    """A table for each risk, with a column for each test set."""
    return [_table(risk, results, about) for risk in model.risks]


def _table(risk: Risk, results: Sequence[TestResults], about: Names) -> Html:
    summaries = [(entry.summary(), entry.intervals()) for entry in results]
    unit = "" if risk.of_marginals else about.outputs[risk.channel].unit
    rows = []
    for part, note in PARTS.items():
        name = f"{risk.name}.{part}"
        if all(name not in summary for summary, _ in summaries):
            continue
        label = join([part, element("span", note, class_="note")])
        rows.append((label, [_cell(name, unit, *entry) for entry in summaries]))
    where = "the domain" if not risk.box else "its box"
    over = "" if risk.threshold is None else f", threshold {with_unit(number(risk.threshold), unit)}"
    caption = f"{risk.name}: {STATISTICS[risk.statistic]} of {about.outputs[risk.channel].name} over {where}{over}"
    return markup.table(caption, ["", *map(title, results)], rows)


def _cell(name: str, unit: str, summary: Mapping[str, float], intervals: Mapping[str, tuple[float, float]]) -> str:
    if name not in summary:
        return "–"
    share = name.endswith(SHARES)

    def write(value: float) -> str:
        return percent(value) if share else number(value)

    value = write(summary[name]) if share or name.endswith("brier") else with_unit(write(summary[name]), unit)
    if name not in intervals:
        return value
    low, high = intervals[name]
    return join([value, element("span", f" {write(low)} to {write(high)}", class_="spread")])
