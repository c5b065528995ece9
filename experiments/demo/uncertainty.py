"""Bands that hold what they say, and an input that is strange and is said to be, from the Darcy model over HTTP."""

import numpy as np
from matplotlib.figure import FigureBase
from numpy.typing import NDArray

from experiments.demo import darcy
from experiments.demo.shown import Drawing, Figure, Shown, Stage, served
from experiments.report.curves import line_axes
from experiments.report.drawing import BAND, ERROR, GIVEN, MEAN, SOFT, TRUTH, Draw, legend
from serving.client import Client, Prediction

OUTPUTS, MIDDLE = ["mean", "std", "interval", "ood"], 15
Array = NDArray[np.floating]


def show(stage: Stage) -> Shown:
    """Ask for the test cases on a grid that training never saw, and for fields of another kind."""
    models, (inputs, truths) = darcy.models(stage), darcy.cases()
    strange = _strange(inputs)
    with served(stage, models) as address, Client(address) as client:
        stage.say(f"asking for {len(inputs)} test cases and {len(strange)} strange ones")
        known = client.predict(inputs, model=darcy.MODEL, outputs=OUTPUTS, abstain="mark")
        odd = client.predict(strange, model=darcy.MODEL, outputs=OUTPUTS, abstain="mark")
    assert known.interval is not None
    inside = (known["lower"] <= truths) & (truths <= known["upper"])
    errors = np.array([np.linalg.norm(m - t) / np.linalg.norm(t) for m, t in zip(known["mean"], truths, strict=True)])
    whole = int(inside.all(axis=(1, 2, 3)).sum())
    flagged, alarms = len(odd.abstention.cases if odd.abstention else ()), _alarms(known)
    level = known.interval.level
    case = int(np.argsort(errors)[len(errors) // 2])
    return Shown(
        verdict=f"The {level:.0%} band holds the whole solution in {whole} of {len(truths)} test cases; "
        f"{flagged} of {len(strange)} strange inputs are flagged.",
        figures=(
            Figure("cases wholly inside", f"{whole / len(truths):.0%}", f"{level:.0%} is promised over all such cases"),
            Figure("points outside", str(inside.size - int(inside.sum())), f"of {inside.size:,}"),
            Figure("relative error", f"{errors.mean():.1%}", "mean, on a grid that training never saw"),
            Figure("strange inputs flagged", f"{flagged} of {len(strange)}", f"and {alarms} of {len(inputs)} others"),
        ),
        drawings=(
            Drawing(_field(inputs[case], "permeability"), "The permeability of the median test case", 2.3),
            Drawing(_band(known, truths, case), "Truth, mean and band of the median test case along x = 0.5", 4.9),
            Drawing(_strangeness(known, odd), "Strangeness of the test cases and of strange inputs", 2.9),
        ),
        caption="The median test case and its band along x = 0.5; and how strange each input is to the model, with the "
        "line from which it is flagged.",
        how="A Fourier neural operator, trained on 900 cases at n = 16, calibrated on 100 others, asked at n = 32.",
    )


def _strange(inputs: Array) -> Array:
    """Fields that the data do not have: shuffled cells, values ten times as large, a smooth wave, a constant."""
    generator = np.random.default_rng(0)
    axis = np.linspace(0, 1, inputs.shape[1])
    wave = inputs.mean() * (1 + 0.9 * np.sin(6 * np.pi * axis)[:, None, None] * np.sin(4 * np.pi * axis)[:, None])
    shuffled = generator.permuted(inputs[0].ravel()).reshape(inputs[0].shape)
    fields = [shuffled, 10 * inputs[1], wave, np.full_like(inputs[0], inputs.max())]
    return np.stack(fields).astype(np.float32)


def _alarms(answer: Prediction) -> int:
    return len(answer.abstention.cases) if answer.abstention else 0


def _field(values: Array, name: str) -> Draw:
    def draw(figure: FigureBase) -> None:
        axes = figure.add_subplot()
        axes.imshow(values[..., 0].T, origin="lower", extent=(0, 1, 0, 1), cmap=GIVEN, interpolation="nearest")
        axes.axvline(0.5, color=ERROR, linewidth=1)
        axes.set(title=name, xlabel="x", ylabel="y")

    return draw


def _band(answer: Prediction, truths: Array, case: int) -> Draw:
    def draw(figure: FigureBase) -> None:
        axes = line_axes(figure, "y", "pressure")
        y = (np.arange(truths.shape[2]) + 1) / (truths.shape[2] + 1)
        lower, upper, mean = (answer[name][case, MIDDLE, :, 0] for name in ("lower", "upper", "mean"))
        axes.fill_between(y, lower, upper, color=BAND, alpha=0.35, linewidth=0, label="band")
        axes.plot(y, mean, color=MEAN, label="mean")
        axes.plot(y, truths[case, MIDDLE, :, 0], color=TRUTH, linestyle="--", label="truth")
        legend(axes)

    return draw


def _strangeness(known: Prediction, odd: Prediction) -> Draw:
    def draw(figure: FigureBase) -> None:
        axes = line_axes(figure, "input", "strangeness")
        count = len(known["ood"])
        axes.plot(np.sort(known["ood"]), ".", color=MEAN, label="test cases")
        axes.plot(
            count + 3 + 3 * np.arange(len(odd["ood"])), odd["ood"], "^", color=ERROR, markersize=5, label="strange"
        )
        if odd.abstention:
            axes.axhline(odd.abstention.threshold, color=SOFT, linestyle="--", linewidth=1, label="flagged")
        axes.set_xticks([])
        legend(axes, "lower")

    return draw
