"""The parts of the page that show all cases of a test set at once."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import FigureBase

from experiments.experiment import Experiment
from experiments.report import curves, drawing, uncertainty
from experiments.report.markup import Html, figure, picture
from experiments.report.summary import promise
from experiments.report.words import Names, title
from experiments.results import DRAWN, TestResults
from pnol_jax.bases import Basis
from pnol_jax.grids import Axis

WIDTH, HEIGHT = 3.45, 3.0  # inches
SHOWN = {"loss": "training loss", "relative_l2": "relative L2 error (training)", "learning_rate": "learning rate"}


def _picture(draw: drawing.Draw, alt: str) -> Html:
    return picture(drawing.svg(draw, WIDTH, HEIGHT), alt)


def _titled(name: str, draw: drawing.Draw) -> drawing.Draw:
    def titled(whole: FigureBase) -> None:
        draw(whole)
        whole.suptitle(drawing.plain(name), x=0.02, ha="left", fontsize=9)

    return titled


def errors(results: Sequence[TestResults], experiment: Experiment) -> list[Html]:
    """How errors are spread, and how they depend on the grid."""
    trained = sorted({_side(group.grid.shape) for group in experiment.train.groups})
    drawn = [
        _picture(curves.errors(results), "Histogram of the cases' relative L2 errors, a colour for each test set."),
        _picture(curves.resolution(results, trained), "Relative L2 error against the points a side of the grid."),
    ]
    return [figure(drawn, "Share of the cases by error, medians dashed; error by grid, bars for the middle half.")]


def _side(shape: Sequence[int]) -> float:
    product = 1.0
    for n in shape:
        product *= n
    return float(product ** (1 / len(shape)))


def calibration(results: Sequence[TestResults], about: Names, guarantee: Mapping[str, Any] | None) -> list[Html]:
    """Whether uncertainties are as large as errors."""
    drawn = [
        _picture(uncertainty.reliability(results), "Share of truths inside central intervals against their level."),
        _picture(uncertainty.pit(results), "Histogram of the probability integral transform."),
        _picture(uncertainty.spread_skill(results, about.unit), "Root mean square error of each case by its spread."),
        _picture(uncertainty.selective(results, about.unit), "Error of the cases that are kept."),
    ]
    text = (
        "Reliability, probability integral transform and spread against error, of the Gaussian at each point; error of "
        "the cases that are kept when the most uncertain ones are left out, dotted for an oracle."
    )
    if any(entry.ranks is not None for entry in results):
        drawn.append(_picture(uncertainty.ranks(results), "Histogram of the truth's rank among draws."))
        spread = uncertainty.spread_by_wave(results, about)
        drawn.append(_picture(spread, "Spread of draws over the error of their mean, by wave number."))
        text += " Of draws: the truth's rank among them, and their spread over the error of their mean by wave number."
    return [figure(drawn, f"{text} {promise(guarantee)}")]


def spectra(results: Sequence[TestResults], about: Names, experiment: Experiment) -> list[Html]:
    """Truth, mean and error by wave number, the first output of every test set."""
    axes = experiment.train.groups[0].grid.axes
    cutoff = min(_highest(basis, axis) for basis, axis in zip(experiment.bases, axes, strict=True))
    shown = [entry for entry in results if entry.spectrum.complete > 2]
    what = f"Power of {about.outputs[0].name} by wave number"
    drawn = [
        _picture(_titled(title(entry), curves.spectrum(entry, 0, about, cutoff)), f"{what}, {title(entry)}.")
        for entry in shown
    ]
    return [figure(drawn, f"{what}: {', '.join(map(title, shown))}.")] if drawn else []


def _highest(basis: Basis, axis: Axis) -> float:
    """The highest wave number that an operator mixes on an axis, in cycles per unit of length."""
    if basis.kind == "cosine":
        return (basis.modes - 1) / (2 * axis.length)
    period = axis.length * (basis.padding if basis.kind == "padded" else 1)
    return basis.modes / 2 / period


def rollout(results: Sequence[TestResults], about: Names, level: float) -> list[Html]:
    """How errors of a step model grow."""
    stepped = [entry for entry in results if entry.rollout is not None]
    if not stepped or about.time_step is None:
        return []
    drawn = _picture(curves.rollout(stepped, about.time_step), "Relative L2 error by lead time.")
    text = "Fed with its own mean from the first state on: median and middle half of the cases."
    pictures = [drawn]
    if any(entry.rollout and DRAWN + "spread" in entry.rollout for entry in stepped):
        spread = uncertainty.rollout_spread(stepped, about.time_step)
        pictures.append(_picture(spread, "Error and spread of draws by lead time."))
        text += " Draws carry the uncertainty of each step into the next: the error of their mean, dashed their spread."
    if any(entry.rollout and "inside" in entry.rollout for entry in stepped):
        held = uncertainty.held(stepped, about.time_step, level)
        pictures.append(_picture(held, "Share of cases inside the band by lead time."))
        text += " The band is calibrated for one step; dotted, where it is corrected by what is observed (adaptive)."
    return [figure(pictures, text)]


def learning(folder: Path) -> list[Html]:
    """The training log as curves."""
    log = read_log(folder)
    if not log:
        return []
    drawn = [
        _picture(curves.learning(log, name, label), f"{label} by training step.")
        for name, label in SHOWN.items()
        if name in log
    ]
    return [figure(drawn, "From log.jsonl.")]


def read_log(folder: Path) -> dict[str, list[float]]:
    """The columns of `log.jsonl`; of a step that was logged twice, because of a resume, the last line counts."""
    path = folder / "log.jsonl"
    if not path.is_file():
        return {}
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.endswith("}")]
    by_step = {line["step"]: line for line in lines}
    rows = [by_step[step] for step in sorted(by_step)]
    shared = set.intersection(*(set(row) for row in rows)) if rows else set()
    return {name: [row[name] for row in rows] for name in shared}
