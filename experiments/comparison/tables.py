"""The numbers of a comparison as tables: a row a run, the best of each column marked."""

from collections.abc import Iterable, Sequence

import numpy as np

from experiments.comparison.compared import Comparison, Scored
from experiments.comparison.cost import Timing
from experiments.comparison.score import SCORES, Score
from experiments.comparison.standings import Standing
from experiments.report import markup
from experiments.report.markup import Html, element, join
from experiments.report.words import level, number, percent
from pnol_jax.scores import Estimate

# The tables of a test set: their captions and the scores in each.
PARTS = {
    "Errors and proper scores": ("relative_l2", "crps", "energy_score", "nll"),
    "Calibration": (
        "coverage",
        "band_coverage",
        "band_simultaneous_coverage",
        "spread_skill",
        "ause",
        "sharpness",
        "band_width",
    ),
    "Rollouts, all lead times together": (
        "rollout_relative_l2",
        "rollout_draws_crps",
        "rollout_draws_energy_score",
        "rollout_draws_coverage",
    ),
}
BY_NAME = {score.name: score for score in SCORES}
NONE = "–"


def scores(comparison: Comparison, scored: Scored) -> list[Html]:
    """The tables of a test set."""
    found = []
    for caption, names in PARTS.items():
        shown = [BY_NAME[name] for name in names if name in scored.standings]
        if shown:
            columns = [[_cell(score, stand) for stand in scored.standings[score.name]] for score in shown]
            heading = [_head(score.label, score.note) for score in shown]
            text = f"{caption}, means over {len(scored.test.cases)} cases"
            found.append(_table(text, heading, comparison, columns))
    return found


def against(comparison: Comparison, scored: Scored) -> list[Html]:
    """How much worse than the baseline each run is, negative where it is better."""
    if comparison.baseline is None:
        return []
    shown = [BY_NAME[name] for name, far in scored.against.items() if any(one is not None for one in far)]
    columns = [[_difference(score, far) for far in scored.against[score.name]] for score in shown]
    caption = (
        f"Against {comparison.labels[comparison.baseline]}: how much larger what is to be small is, with 95% intervals "
        "(of shares the distance to their level, of spread / skill that of its logarithm to 0)"
    )
    return [_table(caption, [score.label for score in shown], comparison, columns)] if shown else []


def costs(comparison: Comparison) -> Html:
    """What every run costs."""
    heading = [
        "",
        _head("trained parameters", "that training changed"),
        _head("stored numbers", "that a prediction reads"),
        _head("training", "all attempts, the fit after it included"),
        _head("one case", "mean, deviation, band"),
        _head("samples of it", "as many as the run exports"),
    ]
    rows = []
    for label, cost in zip(comparison.labels, comparison.costs, strict=True):
        drawn = NONE if cost.draws is None else join([_time(cost.draws, f"{cost.num_samples} samples, ")])
        seconds = NONE if cost.training_seconds is None else f"{number(cost.training_seconds)} s"
        rows.append((label, [f"{cost.parameters:,}", f"{cost.stored:,}", seconds, _time(cost.moments), drawn]))
    rounds = comparison.costs[0].moments.rounds
    caption = (
        f"Cost; times on {comparison.device}, one case at a time, medians and quartiles of {rounds} rounds in turns"
    )
    return markup.table(caption, heading, rows)


def about(comparison: Comparison) -> Html:
    """Where every run comes from."""
    rows = []
    for run in comparison.runs:
        config, guarantee = run.experiment.config, run.model.guarantee
        operator, posterior = (str(type(part).__struct_config__.tag) for part in (config.operator, config.posterior))
        promise = f"level {level(run.level)}; " + ("no band" if guarantee is None else str(guarantee["statement"]))
        cells = [operator, posterior, f"{run.training_cases:,}", f"{config.training.steps:,}", promise]
        rows.append((join([run.label, _note(str(run.folder))]), cells))
    heading = ["", "operator", "posterior", "training cases", "steps", "intervals"]
    return element(
        "div", markup.table("What was trained, and what its intervals promise", heading, rows), class_="about-runs"
    )


def _table(caption: str, heading: Iterable[str], comparison: Comparison, columns: Sequence[Sequence[str]]) -> Html:
    rows = [(label, [column[row] for column in columns]) for row, label in enumerate(comparison.labels)]
    return element("div", markup.table(caption, ["", *heading], rows), class_="comparison")


def _head(label: str, note: str) -> Html:
    return join([label, _note(note)])


def _note(text: str) -> Html:
    return element("span", text, class_="note")


def _cell(score: Score, stand: Standing | None) -> str:
    if stand is None:
        return NONE
    mark = "best" if stand.best else "tied" if stand.tied else ""
    return _estimate(score, stand.estimate, [element("span", mark, class_=f"mark {mark}")] if mark else [])


def _difference(score: Score, far: Estimate | None) -> str:
    if far is None:
        return NONE
    sure = far.low > 0 or far.high < 0
    word = "better" if far.high < 0 else "worse"
    return _estimate(score, far, [element("span", word, class_=f"mark {word}")] if sure else [])


def _estimate(score: Score, found: Estimate, marks: Iterable[Html]) -> Html:
    write = percent if score.share else number
    parts: list[str] = [write(found.value), *marks]
    if np.isfinite(found.low):
        parts.append(element("span", f"{write(found.low)} to {write(found.high)}", class_="spread"))
    return join(parts)


def _time(timing: Timing, before: str = "") -> Html:
    spread = f"{before}{number(timing.low)} to {number(timing.high)}"
    return join([f"{number(timing.median)} ms", element("span", spread, class_="spread")])
