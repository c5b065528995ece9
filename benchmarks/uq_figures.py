"""The headline figures of `benchmarks.uq`, and its tables, from rows."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from rich.table import Table

from benchmarks.report import Figure
from benchmarks.uq_calibrated import NAMES, gap
from benchmarks.uq_rows import Row, Shift
from benchmarks.uq_shifts import SHIFTS, counted
from benchmarks.uq_training import MOST
from pnol_jax.scores import bootstrap

ENSEMBLE, LAPLACE = "ensemble", "laplace"
WIDTH = 230  # of the tables, whatever the terminal's
Rows = Sequence[Row]


def headline(rows: Rows) -> list[Figure]:
    """What the rows at hand come to; a figure that nothing at hand tells is left out."""
    found = [
        *_largest("coverage_gap_max", _gaps(rows, "coverage_pointwise"), "share", 0.02),
        *_largest("coverage_gap_over_splits_max", _gaps(rows, "coverage_pointwise_over_splits"), "share", 0.01),
        *_largest("simultaneous_gap_max", _gaps(rows, "coverage_simultaneous"), "share", 0.04),
        *_largest("simultaneous_gap_over_splits_max", _gaps(rows, "coverage_simultaneous_over_splits"), "share", 0.01),
        *_best(rows),
        *_laplace(rows),
        *_largest("training_cost_max", [row.cost for row in rows], "of the deterministic run", MOST, at_most=MOST),
    ]
    auroc = [shift.auroc for row in rows for name, shift in row.shifts.items() if name in counted(row.problem)]
    if auroc:
        least = float(np.min([math.nan if one is None else one for one in auroc]))  # NaN where one was refused
        found.append(Figure("ood_auroc_min", least, "AUROC", 0.95))
    broken = sum(not sound(row, task) for row, task in _tasks(rows))
    return [*found, Figure("not_finite", float(broken), "rows", 0, less=True)]


def sound(row: Row, task: str) -> bool:
    """Whether every figure of a task is a number."""
    return all(math.isfinite(figure.value) for figure in row.figures(task).values())


def _tasks(rows: Rows) -> list[tuple[Row, str]]:
    return [(row, task) for row in rows for task in row.tasks]


def _gaps(rows: Rows, name: str) -> list[float]:
    return [gap(row.figures(task), name) for row, task in _tasks(rows) if sound(row, task)]


def _largest(name: str, values: Iterable[float], unit: str, goal: float, at_most: float | None = None) -> list[Figure]:
    values = list(values)
    return [Figure(name, max(values), unit, goal, at_most=at_most, less=True)] if values else []


def _best(rows: Rows) -> list[Figure]:
    """The least CRPS of another posterior over the ensemble's, of each task, and the largest of these."""
    ensembles = {task: row for row, task in _tasks(rows) if row.posterior == ENSEMBLE and sound(row, task)}
    found = []
    for task, ensemble in ensembles.items():
        others = [row for row, of in _tasks(rows) if of == task and row is not ensemble and sound(row, of)]
        if not others:
            continue
        best = min(others, key=lambda row: row.figures(task)["crps"].value)
        pair = np.stack([np.asarray(row.crps[task], float) for row in (best, ensemble)], axis=1)
        ratio = bootstrap(pair, lambda pair: pair[:, 0].mean() / pair[:, 1].mean())
        unit, interval = f"ratio ({best.posterior})", (ratio.low, ratio.high)
        found.append(Figure(f"best_crps_vs_ensemble_{task}", ratio.value, unit, 0.9, less=True, interval=interval))
    if not found:
        return []
    worst = max(found, key=lambda figure: figure.value)
    return [replace(worst, name="best_crps_vs_ensemble"), *found]


def _laplace(rows: Rows) -> list[Figure]:
    """What Laplace costs over what the ensemble does, on the problem where that is most."""
    by = {(row.problem, row.posterior): row for row in rows}
    pairs = [(by[problem, LAPLACE], by[problem, ENSEMBLE]) for problem in _with_both(by)]
    whole = [_whole(one) / _whole(other) for one, other in pairs]
    after = [_after(one) / _whole(other) for one, other in pairs]
    return [
        *_largest("laplace_cost_ratio", whole, "ratio, its training included", 0.3),
        *_largest("laplace_cost_ratio_once_trained", after, "ratio, of a deterministic run that is there", 0.3),
    ]


def _with_both(by: Mapping[tuple[str, str], Row]) -> list[str]:
    return [problem for problem, name in by if name == ENSEMBLE and (problem, LAPLACE) in by]


def _whole(row: Row) -> float:
    return row.cost + row.prediction_cost


def _after(row: Row) -> float:
    return row.fit_seconds / row.base_seconds + row.prediction_cost


def table(rows: Rows, task: str) -> Table:
    """The figures of a task, a line for each posterior."""
    titles = ("steps", "train s", "ms a case", *(name.replace("_", " ") for name in NAMES))
    made = Table("posterior", *titles, title=task, title_justify="left")
    for row in rows:
        if task in row.tasks:
            figures = row.figures(task)
            cost = (f"{row.steps}", f"{row.learning_seconds:.0f}", f"{row.milliseconds:.2f}")
            made.add_row(row.posterior, *cost, *(_cell(figures[name]) for name in NAMES))
    made.caption = "95% bootstrap intervals over the test cases; coverage of 90%, by itself and after conformal bands"
    return made


def _cell(found: Sequence[float]) -> str:
    value, low, high = found
    return "-" if not math.isfinite(value) else f"{value:.3g} ({low:.3g}, {high:.3g})"


def shift_table(rows: Rows, problem: str) -> Table:
    """The detectors on the shifts of a problem."""
    seen = [row for row in rows if row.problem == problem and row.shifts]
    titles = [f"{row.posterior}: {what}" for row in seen for what in ("AUROC", "relative L2")]
    made = Table("shift", *titles, "counts", title=f"{problem}: out of distribution", title_justify="left")
    for name, shift in SHIFTS[problem].items():
        cells = [cell for row in seen for cell in _shift_cells(row.shifts.get(name))]
        made.add_row(name, *cells, f"no: {shift.why}" if shift.why else "yes")
    return made


def _shift_cells(shift: Shift | None) -> tuple[str, str]:
    if shift is None or shift.refused:
        return ("-", "-") if shift is None else ("refused", "refused")
    auroc, error = (math.nan if number is None else number for number in (shift.auroc, shift.relative_l2))
    return f"{auroc:.3f}", f"{error:.3f}"
