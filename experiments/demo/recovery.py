"""SIGKILL of the one replica that gets requests, under load: who notices, and for how long."""

import functools
import os
import signal
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import FigureBase

from experiments.demo import plain
from experiments.demo.fleets import Fleet, Watched, fleet, watched
from experiments.demo.load import Sent, send, times, warm
from experiments.demo.shown import Drawing, Figure, Shown, Stage, milliseconds
from experiments.report.curves import line_axes
from experiments.report.drawing import ERROR, MEAN, SOFT, Draw, legend, logarithmic
from serving.client import Client
from serving.client.retries import Retries

SECONDS, KILL, RATE = 20.0, 5.0, 20.0  # of the load; when it is killed; requests a second of each client
OURS, BARE, DEED = "our client", "asks once", "kill"
NUMBERS, SCALING = "minimum = 1\nmaximum = 1", 'spares = 1\npolicies = [{ kind = "requests", per_replica = 1e9 }]'


def show(stage: Stage) -> Shown:
    """Kill it, with a spare that is ready, while two clients ask: ours, and one that asks once."""
    models = stage.folder / "plain"
    plain.write(models, "1")
    stage.say("starting a replica and a spare behind HAProxy")
    with fleet(models, NUMBERS, SCALING) as running:
        running.wait(2)
        stage.say(f"asking {2 * RATE:g} times a second; after {KILL:g} s the replica that answers is killed")
        with Client(running.url) as ours, Client(running.url, retries=Retries(1)) as bare:
            calls = _calls(running, ours, bare)
            warm(calls[OURS])
            warm(calls[BARE])
            zero = time.perf_counter()
            with watched(running, zero, 0.1) as seen:
                sent = send(_due(), calls, zero)
        stage.say("stopping the fleet")
    return _shown(sent, seen)


def _due() -> list[tuple[float, str]]:
    asked = [(at, kind) for kind in (OURS, BARE) for at in times(lambda _: RATE, SECONDS)]
    return [*asked, (KILL, DEED)]


def _calls(running: Fleet, ours: Client, bare: Client) -> dict[str, Callable[[], object]]:
    generator = np.random.default_rng(0)
    fields = [plain.field(generator) for _ in range(100)]

    def ask(client: Client) -> None:
        client.predict(fields[time.perf_counter_ns() % len(fields)], model=plain.MODEL)

    return {
        OURS: functools.partial(ask, ours),
        BARE: functools.partial(ask, bare),
        DEED: functools.partial(_kill, running),
    }


def _kill(running: Fleet) -> None:
    (victim,) = (each for each in running.about()["replicas"] if each["serving"])
    os.kill(victim["pid"], signal.SIGKILL)


def _shown(sent: Sequence[Sent], seen: Watched) -> Shown:
    (deed,) = (each for each in sent if each.kind == DEED)
    killed = deed.end
    asked = {kind: [each for each in sent if each.kind == kind] for kind in (OURS, BARE)}
    failed = {kind: [each for each in sends if each.error] for kind, sends in asked.items()}
    ends = [each.end for sends in failed.values() for each in sends]
    window = max(ends) - killed if ends else 0.0
    good = min((e.end for sends in asked.values() for e in sends if not e.error and e.due > killed), default=SECONDS)
    full = next((at for at, about in seen.seen if at > killed + 0.5 and _whole(about)), None)
    limit = seen.seen[-1][0] - killed
    again = f"not within {limit:.0f} s" if full is None else milliseconds(full - killed)
    slow = max(each.seconds for each in asked[OURS] if not each.error)
    lost = f"{len(failed[OURS])} of {len(asked[OURS])}"
    return Shown(
        verdict=f"The replica that answered was killed under load: our client lost {lost} requests, "
        f"one that asks once {len(failed[BARE])} of {len(asked[BARE])}.",
        figures=(
            Figure(
                "lost by our client", str(len(failed[OURS])), f"of {len(asked[OURS])}; the slowest {milliseconds(slow)}"
            ),
            Figure("lost by one that asks once", str(len(failed[BARE])), f"of {len(asked[BARE])}"),
            Figure(
                "error window", milliseconds(max(0.0, window)) if ends else "none", "from the kill to the last failure"
            ),
            Figure("next answer", milliseconds(good - killed), "after the kill, to a request that came later"),
            Figure("full strength", again, "after the kill: a spare again"),
        ),
        drawings=(
            Drawing(_requests(asked, killed), "Seconds of every request, failures marked, around the kill", height=2.7),
            Drawing(_strength(seen, killed), "Replicas that are ready and that get requests, over time", height=2.7),
        ),
        caption="Every request by when it was sent, failures as crosses; and the replicas, as the supervisor counts "
        "them. The dashed line is the kill.",
        how=f"HAProxy, one replica and one spare; {RATE:g} requests a second by each of two clients.",
    )


def _whole(about: dict[str, Any]) -> bool:
    return len([each for each in about["replicas"] if each["phase"] == "ready"]) >= 2


def _requests(asked: dict[str, list[Sent]], killed: float) -> Draw:
    def draw(figure: FigureBase) -> None:
        axes = line_axes(figure, "seconds", "milliseconds")
        for kind, colour in ((BARE, SOFT), (OURS, MEAN)):
            good = [each for each in asked[kind] if not each.error]
            axes.plot([e.due for e in good], [1000 * e.seconds for e in good], ".", color=colour, label=kind)
        bad = [each for sends in asked.values() for each in sends if each.error]
        axes.plot([e.due for e in bad], [1000 * e.seconds for e in bad], "x", color=ERROR, markersize=5, label="failed")
        axes.axvline(killed, color=ERROR, linestyle="--", linewidth=1)
        logarithmic(axes, "y")
        legend(axes)

    return draw


def _strength(seen: Watched, killed: float) -> Draw:
    def draw(figure: FigureBase) -> None:
        axes = line_axes(figure, "seconds", "replicas")
        at = [moment for moment, _ in seen.seen]
        ready = [sum(r["phase"] == "ready" for r in about["replicas"]) for _, about in seen.seen]
        serving = [sum(r["phase"] == "ready" and r["serving"] for r in about["replicas"]) for _, about in seen.seen]
        axes.step(at, ready, where="post", color=SOFT, label="ready")
        axes.step(at, serving, where="post", color=MEAN, label="with requests")
        axes.axvline(killed, color=ERROR, linestyle="--", linewidth=1)
        axes.set(ylim=(0, 2.2), yticks=[0, 1, 2])
        legend(axes)

    return draw
