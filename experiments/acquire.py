"""Rank the cases of a pool by what their simulation is worth: `python -m experiments.acquire RUN POOL --count 20`.

POOL is a file of inputs as the training files are; outputs need not be in it. Scores:

- variance, bald: of the predicted fields, point by point; the largest first;
- risk: how much knowing a case's NAME (`--risk`, one of the config's) is expected to take from the variance of it over
  the pool; cases are chosen one after the other, each given those before it;
- badge, lcmd: batches that are diverse in the gradients of the mean (of `--parameters`);
- residual: how far the predicted field is from solving `--equation`.

With `--per-cost` the scores of single cases (all but badge and lcmd) are divided by the number of their points. Writes
RUN/acquired.json, or --out FILE.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from experiments import runs
from experiments.acquisition import BATCHES, SCORES, Acquired, Asking, acquire
from experiments.command import run
from experiments.experiment import open_experiment
from experiments.model import load_model
from pnol_jax.active import EQUATIONS
from pnol_jax.memory import keep_arena
from pnol_jax.sharding.mesh import one_device, use

SHOWN = 20
MEANINGS = {
    "variance": "mean epistemic variance of the field, in units of the outputs' variance",
    "bald": "what observing a point tells of the model, in nats, mean over the points",
    "risk": "the variance of the risk over the pool that knowing this case alone is expected to take",
    "badge": "size of the gradient of the mean",
    "lcmd": "distance of the gradient of the mean to that of the nearest training case",
    "residual": "how far the predicted field is from solving the equation",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Rank the pool that the command line names, on one device."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.acquire", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", help="the run's folder")
    parser.add_argument("pool", help="a file of inputs")
    parser.add_argument("--count", type=int, required=True, help="how many cases to choose")
    parser.add_argument("--score", choices=SCORES, default="variance")
    parser.add_argument("--risk", metavar="NAME", help="for the score risk; the config's first if not given")
    parser.add_argument("--equation", choices=list(EQUATIONS), default="darcy", help="for the score residual")
    parser.add_argument("--parameters", default="operator.*", metavar="PATTERN", help="for badge and lcmd")
    parser.add_argument("--per-cost", action="store_true", help="divide by the number of points")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn")
    parser.add_argument("--out", metavar="FILE", help="where the choice is written")
    asked = parser.parse_args(arguments)
    keep_arena()
    folder = Path(asked.run)
    asking = Asking(asked.score, asked.count, asked.seed, asked.risk, asked.equation, asked.parameters, asked.per_cost)
    show = Console(stderr=True)
    with use(one_device()), show.status(f"{asked.score}: ranking the cases of {asked.pool}"):
        experiment = open_experiment(runs.read_config(folder))
        acquired = acquire(experiment, load_model(folder, experiment), asked.pool, asking)
    path = Path(asked.out) if asked.out else folder / "acquired.json"
    acquired.write(path, run=str(folder))
    show.print(_table(acquired))
    print(path)
    return 0


def _table(acquired: Acquired) -> Table:
    """The cases in the order in which to simulate them."""
    what = MEANINGS[acquired.asking.score] + (", over the number of points" if acquired.asking.per_cost else "")
    table = Table("", "case", "score", title=f"{acquired.asking.score}, {len(acquired.scores)} cases in the pool")
    one_by_one = acquired.asking.score in BATCHES or (acquired.asking.score == "risk" and not acquired.asking.per_cost)
    order = "each chosen given those before it" if one_by_one else "the largest score first"
    table.caption = f"Score: {what}. In the order in which to simulate them: {order}"
    for place, case in enumerate(acquired.chosen[:SHOWN], 1):
        table.add_row(str(place), str(case), f"{acquired.scores[case]:.4g}")
    if len(acquired.chosen) > SHOWN:
        table.caption += f"; and {len(acquired.chosen) - SHOWN} more"
    return table


if __name__ == "__main__":
    run(lambda: main(sys.argv[1:]))
