"""The figures in words and numbers: the verdict, the tiles below it, the table of every test set."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.experiment import Experiment
from experiments.model import Model
from experiments.report import markup
from experiments.report.markup import Html, element, join
from experiments.report.words import Names, level, listed, number, percent, title
from experiments.results import TestResults

Guarantee = Mapping[str, Any] | None
# What is tabled, what it means, and how it is written.
SHARES = {
    "relative_l2": ("relative L2 error", "of the mean, over cases; beside it the median"),
    "coverage": ("inside the interval", "share of the domain in the central Gaussian interval at calibration.level"),
    "coverage_worst_region": ("inside it, worst region", "the same in the part of the domain where it is least"),
    "band_coverage": ("inside the band", "share of the domain in the calibrated band"),
    "band_simultaneous_coverage": ("wholly inside the band", "share of the cases whose truth never leaves the band"),
    "ood_alarm": ("taken for strange", "share of the cases whose inputs the detector calls unlike those of training"),
}
NUMBERS = {
    "rmse": ("RMSE", "root mean square error of the mean"),
    "spread": ("spread", "root mean square of the predicted standard deviation"),
    "spread_skill": ("spread / skill", "spread over RMSE: 1 where uncertainty has the size of the error"),
    "crps": ("CRPS", "continuous ranked probability score, lower is better"),
    "energy_score": ("energy score", "of whole fields, from samples, lower is better"),
    "patched_energy_score": ("energy score, patches", "the same on parts of the domain: short-range structure"),
    "variogram_score": ("variogram score", "of differences between regions, from samples, lower is better"),
    "nll": ("NLL", "negative log-likelihood of a Gaussian, lower is better"),
    "interval_score": ("interval score", "of the Gaussian interval at calibration.level, lower is better"),
    "band_width": ("band width", "mean width of the calibrated band"),
    "sharpness": ("sharpness", "mean predicted standard deviation"),
    "spearman": ("rank correlation", "of error and spread by case: 1 where the wrong cases are the uncertain ones"),
    "ause": (
        "sparsification error",
        "what leaving out by spread costs against an oracle, over the mean error",
    ),
    "rollout_relative_l2": ("rollout, mean", "relative L2 over all lead times, fed with its own states"),
    "rollout_relative_l2_end": ("rollout, end", "the same at the last lead time"),
    "rollout_draws_relative_l2": ("rollout of draws", "relative L2 of their mean over all lead times"),
    "rollout_draws_crps": ("rollout, CRPS", "of draws over all lead times, lower is better"),
    "rollout_draws_coverage": ("rollout, coverage", "share inside the draws' central interval of the level"),
}


def verdict(results: Sequence[TestResults], about: Names, guarantee: Guarantee) -> str:
    """What the run is worth, in two sentences."""
    errors = [f"{percent(entry.summary()['relative_l2'])} on {title(entry)}" for entry in results]
    text = f"The mean of {about.predicted} is off by {listed(errors)} (relative L2)."
    key = "band_simultaneous_coverage" if guarantee and guarantee["kind"] == "simultaneous" else "band_coverage"
    if guarantee is None or any(key not in entry.summary() for entry in results):
        return text + " No band was calibrated."
    unit = "of the cases whole" if guarantee["kind"] == "simultaneous" else "of the domain"
    held = listed([percent(entry.summary()[key]) for entry in results])
    return f"{text} The {level(guarantee['level'])} band held {held} {unit}."


def tiles(results: Sequence[TestResults], experiment: Experiment, model: Model) -> Html:
    """The first figures to look at, large."""
    first = results[0].summary()
    weights = sum(int(np.size(value)) for value in model.params.values())
    shown = [
        ("relative L2 error", percent(first["relative_l2"]), f"{title(results[0])}, mean of {results[0].counted}"),
        ("CRPS", number(first["crps"]), "continuous ranked probability score"),
        ("spread / skill", number(first["spread_skill"]), "1: uncertainty as large as the error"),
        ("parameters", f"{weights:,}", f"{len(experiment.train)} training cases"),
    ]
    if "band_simultaneous_coverage" in first:
        asked = level(experiment.config.calibration.level)
        held = percent(first["band_simultaneous_coverage"])
        shown.insert(1, (f"cases wholly inside the {asked} band", held, f"{title(results[0])}"))
    return element("div", *(_tile(*words) for words in shown), class_="tiles")


def _tile(name: str, value: str, more: str) -> Html:
    lines = {"name": name, "value": value, "more": more}
    return element("div", *(element("div", text, class_=kind) for kind, text in lines.items()), class_="tile")


def table(results: Sequence[TestResults], guarantee: Guarantee) -> Html:
    """Every figure of every test set."""
    summaries = [(entry.summary(), entry.intervals()) for entry in results]
    heading = ["", *(f"{title(entry)}, {entry.counted}" for entry in results)]
    rows = []
    for name, (label, note) in (SHARES | NUMBERS).items():
        if all(name not in entry for entry, _ in summaries):
            continue
        cells = [_cell(name, *entry) for entry in summaries]
        rows.append((join([label, element("span", note, class_="note")]), cells))
    caption = "Means over each test set, with 95% bootstrap intervals over its cases, trajectories drawn whole"
    return join([markup.table(caption, heading, rows), markup.paragraph(promise(guarantee), class_="note")])


def promise(guarantee: Guarantee) -> str:
    """What the calibration promises, in a sentence."""
    if guarantee is None:
        return "No band was calibrated."
    return f"{'Calibrated' if guarantee['level'] is None else 'The calibrated band'}: {guarantee['statement']}."


def _cell(name: str, entry: Mapping[str, float], intervals: Mapping[str, tuple[float, float]]) -> str:
    if name not in entry:
        return "–"
    write = percent if name in SHARES else number
    beside = [f"{write(low)} to {write(high)}" for low, high in [intervals[name]]] if name in intervals else []
    if name == "relative_l2":
        beside.append(f"median {percent(entry['relative_l2_median'])}")
    return join([write(entry[name]), *(element("span", f" {text}", class_="spread") for text in beside)])
