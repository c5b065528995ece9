"""Sixteen short trials of equal shapes: as the lanes of one program, and one after the other. Compilation included.

On Darcy flow at n = 16, trials that differ in learning rate, weight decay and seed; each is scored on 100 cases held
out. "One after the other" is what a search without lanes does: the training engine, a program for each trial. "One
compiled program" trains them one after the other too, but hands the numbers to a program that is compiled once: what is
left of the gain over it is owed to training side by side, the rest to compiling once.
"""

import itertools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import jax
import msgspec
import numpy as np
from optuna.trial import TrialState

from benchmarks.measure import Timings
from benchmarks.report import Figure, argument_parser, report
from experiments import fetch
from experiments.command import run
from experiments.search.alone import Result, train_alone
from experiments.search.group import Together
from experiments.search.opening import begin
from experiments.search.problem import Problem
from experiments.search.record import Record
from experiments.search.samplers import quiet
from experiments.search.settings import SearchConfig
from experiments.search.study import Asked, Study
from pnol_jax import toml
from pnol_jax.config import ExperimentConfig
from pnol_jax.memory import keep_arena

CONFIG = "experiments/configs/darcy.toml"
TRIALS, STEPS = 16, 30
SPACE = {
    "optimizer.learning_rate": {"low": 1e-3, "high": 1e-2, "log": True},
    "optimizer.weight_decay": {"low": 1e-5, "high": 1e-2, "log": True},
    "training.seed": {"low": 0, "high": 99},
}
LANES, ALONE, ONCE = "lanes of one program", "one after the other", "one compiled program"
AGREE = 1e-3  # of the scores of both sides, relative


def main() -> int:
    """Measure in turns; the scores of both sides must agree."""
    options = argument_parser(__doc__, rounds=3).parse_args()
    keep_arena()
    quiet()
    fetch.main(["darcy"])
    with tempfile.TemporaryDirectory() as folder:
        study = _study(Path(folder))
        problem = Problem(study.space.base(), study.search)
        with study.searching():
            group = study.ask(TRIALS)
            sides: dict[str, Callable[[], list[Result]]] = {
                LANES: lambda: Together(study, problem).train(group),
                ALONE: lambda: [train_alone(study, problem, _elsewhere(asked)) for asked in group],
                ONCE: lambda: _one_by_one(Together(study, problem), group),
            }
            timings, deviation = _alternate(sides, options.rounds)
    figures = [
        Figure.of_ratio("vmapped_trials_speedup", timings.ratio(ALONE, LANES), 2.0),
        Figure.of_ratio("vmapped_trials_speedup_compiled_once", timings.ratio(ONCE, LANES), 1.0),
        Figure("vmapped_trials_deviation", deviation, "relative", 1e-4, at_most=AGREE),
    ]
    title = f"{TRIALS} trials of {STEPS} steps on Darcy at n = 16, batch of 50"
    return report(figures, options.json, {title: timings})


def _study(folder: Path) -> Study:
    tree = toml.overridden(
        toml.read(CONFIG), [f"training.steps={STEPS}", "optimizer.warmup_steps=10"], ExperimentConfig
    )
    search = msgspec.convert(
        {"space": SPACE, "trials": TRIALS, "sampler": "random", "vectorised": TRIALS}, SearchConfig
    )
    return begin(folder / "study", Record("tune", tree, search, ""))


_numbers = itertools.count(10 * TRIALS + 1)


def _elsewhere(asked: Asked) -> Asked:
    """The trial in a folder of its own, so that it does not find itself finished there."""
    return asked._replace(origin=next(_numbers))


def _one_by_one(together: Together, group: list[Asked]) -> list[Result]:
    return [result for asked in group for result in together.train([asked])]


def _alternate(sides: dict[str, Callable[[], list[Result]]], rounds: int) -> tuple[Timings, float]:
    """Seconds of each side in each round, nothing compiled beforehand; how far scores are from those one by one."""
    seconds = {name: np.empty(rounds) for name in sides}
    deviation = 0.0
    for turn in range(rounds):
        scores = {}
        for name, side in sides.items():
            jax.clear_caches()
            start = time.perf_counter()
            results = side()
            seconds[name][turn] = time.perf_counter() - start
            assert all(result.state == TrialState.COMPLETE for result in results)
            scores[name] = np.array([result.values for result in results])
        deviation = max(deviation, *(float(np.max(np.abs(found / scores[ALONE] - 1))) for found in scores.values()))
    return Timings(seconds), deviation


if __name__ == "__main__":
    run(main)
