"""The prediction cache: a hit beside a computation, over HTTP, on the Darcy model."""

import time
from typing import NamedTuple

import numpy as np
from matplotlib.figure import FigureBase

from experiments.demo import darcy
from experiments.demo.shown import Drawing, Figure, Shown, Stage, milliseconds, served
from experiments.report.curves import line_axes
from experiments.report.drawing import ERROR, MEAN, Draw, legend, logarithmic
from serving.client import Client

REQUESTS, EXPONENT, WARM = 600, 1.1, 5


class Answer(NamedTuple):
    """How long an answer took, and whether it was kept from before."""

    seconds: float
    cached: bool


def show(stage: Stage) -> Shown:
    """Ask for test cases as often as Zipf's law says, one request after the other."""
    models, (inputs, _) = darcy.models(stage), darcy.cases()
    generator = np.random.default_rng(0)
    popularity = 1 / np.arange(1, len(inputs) + 1) ** EXPONENT
    chosen = generator.choice(len(inputs), REQUESTS, p=popularity / popularity.sum())
    answers: list[Answer] = []
    with served(stage, models) as address, Client(address) as client:
        for _ in range(WARM):
            client.predict(generator.permuted(inputs[0]), model=darcy.MODEL)
        for number, case in enumerate(chosen, 1):
            began = time.perf_counter()
            cached = client.predict(inputs[case], model=darcy.MODEL).cached
            answers.append(Answer(time.perf_counter() - began, cached))
            if number % 20 == 0:
                stage.say(f"{number} of {REQUESTS} requests, {sum(each.cached for each in answers)} of them hits")
    hits, computed = (np.array([a.seconds for a in answers if a.cached is kind]) for kind in (True, False))
    ratio = float(np.median(computed) / np.median(hits))
    share = len(hits) / REQUESTS
    return Shown(
        verdict=f"{share:.0%} of the answers were kept from before, and came {ratio:.1f} times as fast as the others.",
        figures=(
            Figure("computed, median", milliseconds(float(np.median(computed))), f"{len(computed)} requests"),
            Figure("hit, median", milliseconds(float(np.median(hits))), f"{len(hits)} requests"),
            Figure(
                "hit ratio", f"{share:.0%}", f"at most {1 - len(set(chosen)) / REQUESTS:.0%}: each field is new once"
            ),
        ),
        drawings=(
            Drawing(_latencies(hits, computed), "Histogram of the seconds of hits and of computed answers"),
            Drawing(_ratio(answers), "The share of hits among all requests so far"),
        ),
        caption="The time of a request as the client sees it, HTTP included, and the share of hits so far.",
        how=f"{REQUESTS} requests for {len(inputs)} Darcy fields, popular by Zipf's law with exponent {EXPONENT:g}.",
    )


def _latencies(hits: np.ndarray, computed: np.ndarray) -> Draw:
    def draw(figure: FigureBase) -> None:
        axes = line_axes(figure, "milliseconds", "requests")
        every = 1000 * np.concatenate([hits, computed])
        edges = np.geomspace(every.min() * 0.9, every.max() * 1.1, 40)
        for values, colour, label in ((hits, MEAN, "hit"), (computed, ERROR, "computed")):
            axes.hist(1000 * values, edges.tolist(), color=colour, alpha=0.7, label=label)
        logarithmic(axes, "x")
        legend(axes)

    return draw


def _ratio(answers: list[Answer]) -> Draw:
    def draw(figure: FigureBase) -> None:
        axes = line_axes(figure, "requests", "hit ratio so far")
        cached = np.array([each.cached for each in answers], float)
        count = np.arange(1, len(cached) + 1)
        axes.plot(count, np.cumsum(cached) / count, color=MEAN)
        axes.set(ylim=(0, 1), xlim=(0, len(cached)))

    return draw
