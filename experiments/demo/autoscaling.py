"""A load that grows and falls, and the replicas that follow it."""

import time
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from matplotlib.figure import FigureBase
from matplotlib.ticker import MaxNLocator

from experiments.demo import plain
from experiments.demo.fleets import Watched, fleet, watched
from experiments.demo.load import Sent, send, times, warm
from experiments.demo.shown import Drawing, Figure, Shown, Stage, milliseconds
from experiments.report.curves import line_axes
from experiments.report.drawing import ERROR, MEAN, SOFT, Draw, legend
from serving.client import Client

QUIET, BUSY, SECONDS = 4.0, 36.0, 55.0  # requests a second, and seconds of the load
RISE, TOP, FALL = 8.0, 16.0, 30.0  # when it begins to grow, is at its top, and falls
MOST, EACH, LINGER = 3, 14.0, 6.0  # replicas; requests a second for each; seconds until one goes
NUMBERS = f"minimum = 1\nmaximum = {MOST}"
SCALING = f"""policies = [{{ kind = "requests", per_replica = {EACH} }}, {{ kind = "queue_time" }}]
down = {{ window_seconds = {LINGER} }}"""


def show(stage: Stage) -> Shown:
    """Ask as the load has it, and look at the fleet meanwhile."""
    models = stage.folder / "plain"
    plain.write(models, "1")
    stage.say("starting one replica behind HAProxy")
    generator = np.random.default_rng(0)
    with fleet(models, NUMBERS, SCALING) as running:
        with Client(running.url) as client:

            def ask() -> None:
                client.predict(field, model=plain.MODEL)

            field = plain.field(generator)
            warm(ask, 5)  # fewer than would want a second replica
            stage.say(f"{QUIET:g} requests a second, then {BUSY:g}, then {QUIET:g} again: {SECONDS:g} s")
            zero = time.perf_counter()
            with watched(running, zero) as seen:
                sent = send([(at, "ask") for at in times(rate, SECONDS)], {"ask": ask}, zero)
        stage.say("stopping the fleet")
    return _shown(sent, seen)


def rate(at: float) -> float:
    """Requests a second at a moment."""
    return float(np.interp(at, [RISE, TOP, FALL, FALL + 2], [QUIET, BUSY, BUSY, QUIET]))


def _shown(sent: Sequence[Sent], seen: Watched) -> Shown:
    desired, serving = _counts(seen)
    wanted = next((at for at, number in desired if number > 1), None)
    lost = sum(bool(each.error) for each in sent)
    p99 = float(np.quantile([each.seconds for each in sent if not each.error], 0.99))
    most, last = max(number for _, number in serving), serving[-1][1]
    spare, cold = ("–", "–") if wanted is None else _took(seen, serving, wanted)
    steps = [
        about["reason"] for (_, before), (_, about) in pairwise(seen.seen) if about["desired"] != before["desired"]
    ]
    return Shown(
        verdict=f"As the load went from {QUIET:g} to {BUSY:g} requests a second and back, replicas went from "
        f"{serving[0][1]} to {most} and back to {last}; {lost} of {len(sent)} requests failed.",
        figures=(
            Figure("replicas at the top", str(most), f"of at most {MOST}"),
            Figure("from decision to the spare", spare, "it was ready, and got requests"),
            Figure("from decision to a cold replica", cold, "the first that had to be started, a spare again"),
            Figure("failed requests", str(lost), f"of {len(sent)}"),
            Figure("p99", milliseconds(p99), "as the clients see it"),
        ),
        drawings=(
            Drawing(_load(seen), "Requests a second over time", 3.4),
            Drawing(_replicas(desired, serving), "Replicas wanted and with requests over time", 3.4),
            Drawing(_queue(sent, seen), "Requests that are open and seconds that they took over time", 3.4),
        ),
        caption="Requests a second as HAProxy counts them, replicas as the supervisor does, how long requests take. "
        + (f"First and last reason: {steps[0]}; {steps[-1]}." if steps else ""),
        how=f"HAProxy and real replicas; policies: {EACH:g} requests a second for each replica, and time in the queue. "
        f"Replicas go {LINGER:g} s after the load has, which in earnest is a minute.",
    )


def _took(seen: Watched, serving: Sequence[tuple[float, int]], wanted: float) -> tuple[str, str]:
    """From the first decision to the spare with requests, and to a replica that was not there before and is ready."""
    spare = next((at - wanted for at, number in serving if number > 1), None)
    known = {each["name"] for at, about in seen.seen if at < wanted for each in about["replicas"]}
    fresh = ((at, each) for at, about in seen.seen for each in about["replicas"] if each["name"] not in known)
    cold = next((at - wanted for at, each in fresh if each["phase"] == "ready"), None)
    return _read(spare), _read(cold)


def _read(seconds: float | None) -> str:
    """Nothing is told between two looks: what the same one saw was at once."""
    return "–" if seconds is None else milliseconds(seconds) if seconds else "at once"


def _counts(seen: Watched) -> tuple[list[tuple[float, int]], list[tuple[float, int]]]:
    """Replicas wanted, and with requests, over time."""
    desired = [(at, int(about["desired"])) for at, about in seen.seen]
    serving = [
        (at, sum(each["serving"] and each["phase"] == "ready" for each in about["replicas"])) for at, about in seen.seen
    ]
    return desired, serving


def _load(seen: Watched) -> Draw:
    def draw(figure: FigureBase) -> None:
        axes = line_axes(figure, "seconds", "requests a second")
        told = [(at, about["balancer"]["requests_per_second"]) for at, about in seen.seen if about["balancer"]]
        axes.plot(*zip(*told, strict=True), color=MEAN, label="seen")
        at = np.linspace(0, SECONDS, 400)
        axes.plot(at, [rate(moment) for moment in at], color=SOFT, linestyle="--", linewidth=1, label="sent")
        axes.set_ylim(0, None)
        legend(axes)

    return draw


def _replicas(desired: list[tuple[float, int]], serving: list[tuple[float, int]]) -> Draw:
    def draw(figure: FigureBase) -> None:
        axes = line_axes(figure, "seconds", "replicas")
        axes.step(*zip(*desired, strict=True), where="post", color=SOFT, linestyle="--", linewidth=1, label="wanted")
        axes.step(*zip(*serving, strict=True), where="post", color=MEAN, label="with requests")
        axes.set_ylim(0, MOST + 0.3)
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        legend(axes)

    return draw


def _queue(sent: Sequence[Sent], seen: Watched) -> Draw:
    def draw(figure: FigureBase) -> None:
        axes = line_axes(figure, "seconds", "milliseconds")
        good = [each for each in sent if not each.error]
        axes.plot(
            [e.due for e in good], [1000 * e.seconds for e in good], ".", markersize=2, color=SOFT, label="request"
        )
        waits = [
            (at, 1000 * float(np.mean([f["waiting_seconds"] for r in about["replicas"] if (f := r["figures"])] or [0])))
            for at, about in seen.seen
        ]
        axes.plot(*zip(*waits, strict=True), color=ERROR, label="of it in the queue")
        axes.set_ylim(0, None)
        legend(axes)

    return draw
