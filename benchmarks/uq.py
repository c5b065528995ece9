"""Every posterior on three problems at equal training cost: errors, proper scores, coverage, strange inputs, cost.

Darcy flow from our solver (32x32; 600 training, 300 calibration, 500 test cases), Burgers from time 0 to 1 (128 points;
300, 300, 500) and Kuramoto-Sivashinsky as a step model, asked 5 and 20 steps ahead by draws that march (128 points;
400, 300, 300 trajectories). Training and `fit` take at most 3 times as long as the deterministic run's. Each finished
row is kept in `runs/uq` at once, and a benchmark that is started again goes on from there; it knows a row by its config
alone, so after a change of code or data ask for `--fresh`. A row that cost more is made again.

Figures of draws are fair; intervals are over test cases, the trained models given.
"""

import contextlib
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from rich.console import Console

from benchmarks import uq_rows as kept
from benchmarks.report import argument_parser, report
from benchmarks.uq_calibrated import summary
from benchmarks.uq_figures import WIDTH, headline, shift_table, table
from benchmarks.uq_picture import costs, size
from benchmarks.uq_problems import POSTERIORS, PROBLEMS, Problem, chosen, shrunk
from benchmarks.uq_rows import Row
from benchmarks.uq_scores import scored
from benchmarks.uq_shifts import SHOWN, shifts_of
from benchmarks.uq_training import BASE, MOST, Base, Clock, equal_cost, paced, trained, training_cost
from experiments.command import run
from experiments.report.drawing import svg
from pnol_jax.files import write_atomically
from pnol_jax.memory import keep_arena


def main() -> int:
    """Make the rows that are missing, then say what all of them come to."""
    parser = argument_parser(__doc__)
    parser.add_argument("--problems", nargs="*", default=[], metavar="NAME", help=f"of {', '.join(PROBLEMS)} (all)")
    parser.add_argument("--posteriors", nargs="*", default=[], metavar="NAME", help="of experiments/configs/posteriors")
    parser.add_argument("--quick", action="store_true", help="a few steps and cases, to see that everything runs")
    parser.add_argument("--fresh", action="store_true", help="make rows again that are there")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="write cost against CRPS here")
    options = parser.parse_args()
    keep_arena()
    if options.quick:  # which is mostly compiling
        jax.config.update("jax_disable_most_optimizations", True)  # type: ignore[no-untyped-call]
    names = chosen(options.posteriors, POSTERIORS, "posteriors")
    problems = [PROBLEMS[name] for name in chosen(options.problems, list(PROBLEMS), "problems")]
    if options.quick:
        problems = [shrunk(problem) for problem in problems]
    folder = Path("runs") / ("uq_quick" if options.quick else "uq")
    console, rows = Console(width=WIDTH), []
    for problem in problems:
        found = rows_of(problem, names, folder, fresh=options.fresh)
        for task in problem.tasks():
            console.print(table(found, task))
        console.print(shift_table(found, problem.name))
        rows += found
    if options.picture:
        tasks = [task for problem in problems for task in problem.tasks()]
        write_atomically(options.picture, svg(costs(rows, tasks), *size(tasks), ground="white"))
    return report(headline(rows), options.json)


def rows_of(problem: Problem, posteriors: Sequence[str], folder: Path, *, fresh: bool) -> list[Row]:
    """The rows of a problem; what is there already is read, the base first, whose time is the others' measure."""
    ordered = sorted({BASE, *posteriors}, key=POSTERIORS.index)
    rows: list[Row] = []
    with contextlib.ExitStack() as stack:
        clock: Clock | None = None
        for posterior in ordered:
            settings = kept.digest(problem.config(posterior))
            row = None if fresh else kept.read(folder, problem.name, posterior, settings)
            if row is None or (row.cost > MOST and not problem.quick):
                clock = clock or stack.enter_context(Clock(problem.experiment(BASE)))
                base = Base(clock, rows[0].steps, rows[0].fit_seconds) if rows else None
                row = made(problem, posterior, settings, clock, base)
                kept.write(folder, row)
            rows.append(row)
    return [row for row in rows if row.posterior in posteriors]


def made(problem: Problem, posterior: str, settings: str, clock: Clock, base: Base | None) -> Row:
    """Train a posterior on a problem and look at what it says; `clock` is the base's; no `base` for the base itself."""
    Console(stderr=True).print(f"{problem.name}: {posterior}", highlight=False)
    experiment = problem.experiment(posterior)
    with Clock(experiment) if base else contextlib.nullcontext(clock) as own:
        if base is not None and not problem.quick:
            experiment = equal_cost(posterior, experiment, own, base)
        found = trained(experiment)
        base = base or Base(clock, found.steps, found.fit_seconds)
        pace = paced(own, clock)
    assert experiment.calibration is not None
    held = scored(problem, experiment, found.params, experiment.calibration)
    test = scored(problem, experiment, found.params, experiment.test[0])
    tasks = {task: kept.as_figures(summary(held.tasks[task], test.tasks[task])) for task in problem.tasks()}
    crps = {task: [float(value) for value in test.tasks[task]["crps"]] for task in problem.tasks()}
    return Row(
        problem=problem.name,
        posterior=posterior,
        settings=settings,
        steps=found.steps,
        training_seconds=found.training_seconds,
        fit_seconds=found.fit_seconds,
        cost=training_cost(own, found.steps, found.fit_seconds, base, pace),
        base_seconds=base.seconds(pace.base),
        prediction_seconds=test.seconds,
        cases=len(experiment.test[0]),
        tasks=tasks,
        crps={task: [value if np.isfinite(value) else None for value in values] for task, values in crps.items()},
        shifts=shifts_of(problem, experiment, found.params) if posterior in SHOWN else {},
    )


if __name__ == "__main__":
    run(main)
