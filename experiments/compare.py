"""Compare finished runs on the same test cases: `python -m experiments.compare RUN RUN ... --out compare.html`.

Writes one page that needs no other file: scores with intervals and which differences are real, reliability, cost of a
prediction measured in turns, samples beside truth. Beside it its numbers (.json) and a picture of cost against CRPS and
of reliability (.svg). Runs of the same name are told apart by their folders.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from experiments.command import run
from experiments.comparison import Comparison, compared, write_comparison
from experiments.comparison.score import SCORES
from experiments.comparison.standings import Standing
from experiments.report.words import number
from pnol_jax.errors import InputError
from pnol_jax.memory import keep_arena
from pnol_jax.sharding.mesh import one_device, use

SHOWN = ("relative_l2", "crps", "energy_score", "coverage", "rollout_draws_crps")


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare the runs that the command line names, on one device."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.compare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="the folders of finished runs")
    parser.add_argument("--out", default="compare.html", metavar="FILE", help="the page (compare.html)")
    parser.add_argument("--cases", type=int, metavar="N", help="look at the first N cases of each test set (all)")
    parser.add_argument("--baseline", metavar="RUN", help="say of every score how far each run is from this one")
    asked = parser.parse_args(arguments)
    keep_arena()
    path = Path(asked.out)
    if path.suffix != ".html" or not path.parent.is_dir():
        raise InputError(f"--out: got {path}, expected a file that ends in .html, in a folder that exists")
    with use(one_device()):
        found = compared([Path(name) for name in asked.runs], asked.cases, asked.baseline and Path(asked.baseline))
        write_comparison(path, found)
    Console(stderr=True).print(_table(found))
    print(path)
    return 0


def _table(comparison: Comparison) -> Table:
    """The first test set's scores, a row a run."""
    first = comparison.tests[0]
    shown = [score for score in SCORES if score.name in SHOWN and score.name in first.standings]
    caption = f"{first.test.title}, {len(first.test.cases)} cases; * best, ~ cannot be told from it"
    table = Table(caption=caption)
    for heading in ("", *(f"rollout {score.label}" if score.rolled else score.label for score in shown), "ms a case"):
        table.add_column(heading, no_wrap=not heading)
    for row, label in enumerate(comparison.labels):
        cells = [_figure(first.standings[score.name][row]) for score in shown]
        table.add_row(escape(label), *cells, number(comparison.costs[row].moments.median))
    return table


def _figure(stand: Standing | None) -> str:
    if stand is None:
        return "-"
    return f"{stand.estimate.value:.3g}" + ("*" if stand.best else "~" if stand.tied else "")


if __name__ == "__main__":
    run(lambda: main(sys.argv[1:]))
