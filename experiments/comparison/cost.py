"""What runs cost: parameters, training, and the time of a prediction, measured here in turns."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from experiments.comparison.one_case import asked, program
from experiments.comparison.opened import CONSOLE, Opened, SharedCases
from pnol_jax.posteriors import trained
from pnol_jax.training.goodput import FILE, KINDS, seconds_of

ROUNDS, LEAST = 50, 5  # rounds of a measurement, and those that it has however long they take
SECONDS = 2.0  # for each program, after which no new round begins


@dataclass(frozen=True)
class Timing:
    """Milliseconds: median and quartiles of so many rounds."""

    median: float
    low: float
    high: float
    rounds: int


@dataclass(frozen=True)
class Cost:
    """`parameters` that training changed, and `stored`, all numbers that a prediction reads.

    `training_seconds` of all attempts, None where the run has no record of them; `moments` of one case (mean, standard
    deviation, band), and `draws` of `num_samples` fields of it, None where a run draws none.
    """

    parameters: int
    stored: int
    training_seconds: float | None
    moments: Timing
    draws: Timing | None
    num_samples: int


def costs(runs: Sequence[Opened], test: SharedCases, number: int) -> list[Cost]:
    """The cost of every run, its predictions those of one test case, one at a time, on the device at hand."""
    drawing = [run for run in runs if run.experiment.posterior.has_samples]
    moments = in_turns([_call(run, test, number, 0) for run in runs], "timing predictions")
    draws = in_turns([_call(run, test, number, _draws(run)) for run in drawing], "timing draws")
    drawn = dict(zip([run.label for run in drawing], draws, strict=True))
    return [
        Cost(
            parameters=_size(trained(run.model.params)),
            stored=_size(run.model.params),
            training_seconds=training_seconds(run.folder),
            moments=timing,
            draws=drawn.get(run.label),
            num_samples=_draws(run),
        )
        for run, timing in zip(runs, moments, strict=True)
    ]


def _draws(run: Opened) -> int:
    return run.experiment.config.export.num_samples


def _size(params: Any) -> int:
    return sum(int(np.size(value)) for value in params.values())


def _call(run: Opened, test: SharedCases, number: int, num_samples: int) -> Callable[[], object]:
    batch, grid = asked(run, test, number)
    compiled, arguments = program(run, num_samples), jax.device_put((run.model.params, batch.inputs, grid))
    return lambda: jax.block_until_ready(compiled(*arguments))  # type: ignore[no-untyped-call]


def in_turns(
    calls: Sequence[Callable[[], object]], what: str = "timing", rounds: int = ROUNDS, seconds: float = SECONDS
) -> list[Timing]:
    """The time of each call, round by round, every other round backwards, so that what slows the machine slows all."""
    for call in calls:
        for _ in range(2):  # compiled, then warm
            call()
    taken: list[NDArray[np.float64]] = []
    end = time.monotonic() + seconds * len(calls)
    for position in track(range(rounds), what, console=CONSOLE, transient=True):
        if position >= LEAST and time.monotonic() > end:
            break
        order = range(len(calls)) if position % 2 == 0 else reversed(range(len(calls)))
        row = np.zeros(len(calls))
        for number in order:
            before = time.perf_counter()
            calls[number]()
            row[number] = 1e3 * (time.perf_counter() - before)
        taken.append(row)
    quartiles = np.quantile(np.stack(taken), (0.25, 0.5, 0.75), axis=0).T
    return [Timing(float(middle), float(low), float(high), len(taken)) for low, middle, high in quartiles]


def training_seconds(folder: Path) -> float | None:
    """Seconds of training and of the posterior's `fit` over all attempts of a run, work done twice included."""
    path = folder / FILE
    if not path.is_file():
        return None
    attempts = json.loads(path.read_text(encoding="utf-8"))["attempts"]
    return sum(seconds_of(attempts, kind) for kind in KINDS)


def front(costs: Sequence[float], losses: Sequence[float]) -> list[int]:
    """The positions, by cost, of those that nothing beats in both: no other costs less and is not worse, or is better.

    What is not finite is not on it; of equal ones the first is.
    """
    order = sorted(range(len(costs)), key=lambda position: (costs[position], losses[position]))
    found: list[int] = []
    for position in order:
        finite = np.isfinite(costs[position]) and np.isfinite(losses[position])
        if finite and (not found or losses[position] < losses[found[-1]]):
            found.append(position)
    return found
