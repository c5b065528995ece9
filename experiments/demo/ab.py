"""A canary that is worse calibrated than what is served, and the test that takes it back, over HTTP."""

import json
import tempfile
import urllib.request
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import FigureBase

from experiments.demo import plain
from experiments.demo.shown import Drawing, Figure, Shown, Stage, served
from experiments.report.curves import line_axes
from experiments.report.drawing import ERROR, MEAN, SOFT, Draw, legend, logarithmic
from serving.client import Client

LEVEL, MINIMUM, LIMIT = 0.05, 50, 600
LABELS = f"""stable = "1"
canary = "2"
[split]
stable = 0.9
canary = 0.1
[rule]
metric = "crps"
level = {LEVEL}
minimum = {MINIMUM}
on_worse = "roll_back"
coverage = 0.9
"""


def show(stage: Stage) -> Shown:
    """Ask, tell what came true, and look at the evidence until the canary is taken back."""
    with tempfile.TemporaryDirectory(prefix="ab") as name:
        folder = Path(name)
        plain.write(folder, "1")
        plain.write(folder, "2", plain.NOISE / 2)
        (folder / plain.MODEL / "labels.toml").write_text(LABELS)
        with served(stage, folder) as address, Client(address) as client:
            seen = _until_taken_back(stage, client, address)
    return _shown(*seen)


def _until_taken_back(
    stage: Stage, client: Client, address: str
) -> tuple[list[float], dict[str, list[float]], dict[str, int], str]:
    """The evidence after each truth, coverages of both versions, answers by version, and what was done."""
    generator = np.random.default_rng(0)
    evidence: list[float] = []
    coverages: dict[str, list[float]] = defaultdict(list)
    asked: dict[str, int] = defaultdict(int)
    for number in range(1, LIMIT + 1):
        field = plain.field(generator)
        answer = client.predict(field, model=plain.MODEL)
        asked[answer.version] += 1
        truth = field + plain.NOISE * generator.standard_normal(field.shape)
        judged = _ask(f"{address}/feedback", {"id": answer.id, "truth": truth.tolist()})
        for version, scores in judged["scores"].items():
            coverages[version].append(scores["coverage"])
        about = _ask(f"{address}/models/{plain.MODEL}/releases")
        if about["comparison"] is not None:
            evidence.append(1 / about["comparison"]["p_worse"])
        done = [event for event in about["events"] if event.get("action") == "roll_back"]
        stage.say(f"{number} {'truth' if number == 1 else 'truths'}, evidence {evidence[-1]:.3g} of {1 / LEVEL:g}")
        if done or about["labels"]["canary"]["version"] == "1":
            return evidence, coverages, asked, f"after {number} truths"
    return evidence, coverages, asked, ""


def _ask(url: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as reply:
        found: dict[str, Any] = json.load(reply)
    return found


def _shown(evidence: list[float], coverages: dict[str, list[float]], asked: dict[str, int], taken: str) -> Shown:
    means = {version: float(np.mean(values)) for version, values in coverages.items()}
    verdict = f"The canary was taken back {taken}." if taken else f"The canary was still there after {LIMIT} truths."
    return Shown(
        verdict=f"{verdict} Its 90% intervals held {means.get('2', 0):.0%} of what came true, those of version 1 "
        f"{means.get('1', 0):.0%}.",
        figures=(
            Figure("truths until it was taken back", str(len(coverages["2"])) if taken else "–", f"at least {MINIMUM}"),
            Figure("evidence one truth before", f"{evidence[-1]:.3g}", f"enough from {1 / LEVEL:g} on, at any time"),
            Figure(
                "requests that the canary answered", str(asked["2"]), f"of {sum(asked.values())}; a tenth is its share"
            ),
        ),
        drawings=(
            Drawing(_evidence(evidence), "Evidence that the canary is worse, over truths, until it passes the limit"),
            Drawing(_coverage(coverages), "Coverage of both versions so far, over truths"),
        ),
        caption="Evidence that the canary is worse, a bet that pays 1 at most on average if it is not; and the share "
        "of what came true inside the 90% intervals of each version so far.",
        how="Two real servables in one service. Both state the mean rightly; the canary believes in half of the noise.",
    )


def _evidence(evidence: list[float]) -> Draw:
    def draw(figure: FigureBase) -> None:
        axes = line_axes(figure, "truths", "evidence that it is worse")
        axes.plot(np.arange(1, len(evidence) + 1), evidence, color=ERROR, label="evidence")
        axes.axhline(1 / LEVEL, color=SOFT, linestyle="--", linewidth=1, label="enough")
        axes.axvline(MINIMUM, color=SOFT, linestyle=":", linewidth=1, label="fewest truths")
        logarithmic(axes, "y")
        legend(axes)

    return draw


def _coverage(coverages: dict[str, list[float]]) -> Draw:
    def draw(figure: FigureBase) -> None:
        axes = line_axes(figure, "truths", "coverage so far")
        for version, colour, label in (("1", MEAN, "version 1"), ("2", ERROR, "canary")):
            values = np.array(coverages[version])
            axes.plot(
                np.arange(1, len(values) + 1),
                np.cumsum(values) / np.arange(1, len(values) + 1),
                color=colour,
                label=label,
            )
        axes.axhline(0.9, color=SOFT, linestyle="--", linewidth=1, label="said")
        axes.set_ylim(0, 1)
        legend(axes)

    return draw
