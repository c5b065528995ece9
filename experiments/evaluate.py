"""Score a trained run on its test cases: `python -m experiments.evaluate RUN`.

Writes metrics.json, report.html and picture.svg into its folder.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from experiments import runs
from experiments.command import run
from experiments.experiment import open_experiment
from experiments.model import load_model
from experiments.report import write_report
from experiments.results import TestResults, test_results
from pnol_jax.errors import InputError
from pnol_jax.files import write_atomically
from pnol_jax.memory import keep_arena
from pnol_jax.sharding.mesh import mesh_or_one_device, use

SHOWN = ("relative_l2", "crps", "nll", "coverage", "band_simultaneous_coverage", "spread_skill")


def main(arguments: Sequence[str] | None = None) -> int:
    """Evaluate the run that the command line names, on the mesh of its config or, where it does not fit, one device."""
    parser = argparse.ArgumentParser(prog="python -m experiments.evaluate", description=__doc__)
    parser.add_argument("run", help="the run's folder")
    asked = parser.parse_args(arguments)
    keep_arena()
    folder = Path(asked.run)
    config = runs.read_config(folder)
    with use(mesh_or_one_device(config.mesh, config.training.batch_size)):
        print(evaluate(folder))
    return 0


def evaluate(folder: Path) -> Path:
    """Score a run's model on its test sets; write `metrics.json` and the report, whose path is returned.

    Raises:
        InputError: the folder holds no trained run, or its config names no test cases.
    """
    experiment = open_experiment(runs.read_config(folder))
    if not experiment.test:
        raise InputError(f"{folder}: data.test names no files, expected at least one to evaluate on")
    model = load_model(folder, experiment)
    named = zip(experiment.config.data.test, experiment.test, strict=True)
    results = [entry for path, cases in named for entry in test_results(experiment, model, Path(path).stem, cases)]
    if not runs.leads():
        return folder / "report.html"
    write_atomically(folder / "metrics.json", json.dumps(_metrics(results, model.guarantee), indent=2) + "\n")
    Console(stderr=True).print(_table(results))
    return write_report(folder, experiment, model, results)


def _metrics(results: Sequence[TestResults], guarantee: dict[str, object] | None) -> dict[str, object]:
    named = {f"{entry.name}@{'x'.join(map(str, entry.grid.shape))}": entry for entry in results}
    return {
        "tests": {name: entry.summary() for name, entry in named.items()},
        "intervals": {name: entry.intervals() for name, entry in named.items()},
        "calibration": guarantee,
    }


def _table(results: Sequence[TestResults]) -> Table:
    summaries = [(entry.summary(), entry.intervals()) for entry in results]
    heads = (f"{entry.name}\n{'x'.join(map(str, entry.grid.shape))} points, {entry.counted}" for entry in results)
    table = Table("", *heads, caption="with 95% bootstrap intervals over cases, trajectories whole")
    for name in SHOWN:
        if any(name in summary for summary, _ in summaries):
            table.add_row(name.replace("_", " "), *(_figure(name, *entry) for entry in summaries))
    return table


def _figure(name: str, summary: Mapping[str, float], intervals: Mapping[str, tuple[float, float]]) -> str:
    if name not in summary:
        return "-"
    low, high = intervals.get(name, (None, None))
    return f"{summary[name]:.4g}" + ("" if low is None else f" ({low:.3g} to {high:.3g})")


if __name__ == "__main__":
    run(lambda: main(sys.argv[1:]))
