"""The same training steps on one, two and four devices: equal losses, and what is sent for it."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import FigureBase

from experiments.demo import devices
from experiments.demo.shown import Drawing, Figure, Shown, Stage
from experiments.report.curves import line_axes
from experiments.report.drawing import MEAN, Draw, colour, legend, marker
from pnol_jax.errors import InputError


def show(stage: Stage) -> Shown:
    """Run the meshes in a process that has four simulated devices."""
    stage.say("starting a process with four simulated devices")
    found = list(_meshes(stage))
    first = np.array(found[0]["losses"])
    apart = max(float(np.max(np.abs(np.array(each["losses"]) / first - 1))) for each in found[1:])
    return Shown(
        verdict=f"On every mesh the losses of {devices.STEPS} steps are the same to {apart:.1g} of their value.",
        figures=(
            Figure("largest difference of a loss", f"{apart:.1g}", "relative; float32 has 6e-08"),
            *(Figure(each["mesh"], _bytes(each["sent"]), "sent by each device in a step") for each in found[1:]),
        ),
        drawings=(
            Drawing(_losses(found), "The losses of all meshes over the steps, one upon the other"),
            Drawing(_sent(found), "Kilobytes that each device sends in a step, by mesh"),
        ),
        caption="The loss after each step, on every mesh; and what each device sends in a step, as the compiled "
        "program has it: gradients where cases are divided, kept modes where space is.",
        how=f"An FNO of {devices.MODES} modes and width {devices.WIDTH} on {devices.POINTS} x {devices.POINTS} points, "
        f"batches of {devices.BATCH}, on devices that share this machine's cores.",
    )


def _meshes(stage: Stage) -> Sequence[dict[str, Any]]:
    command = [sys.executable, "-m", "experiments.demo.devices"]
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": str(devices.DEVICES), "JAX_PLATFORMS": "cpu"}
    found: list[dict[str, Any]] = []
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                found.append(json.loads(line))
                stage.say(
                    f"{found[-1]['mesh']}: loss {found[-1]['losses'][-1]:.6f}, {_bytes(found[-1]['sent'])} a step"
                )
        finally:
            process.terminate()
    if len(found) < len(devices.MESHES):
        raise InputError(f"{' '.join(command)}: ended after {len(found)} of {len(devices.MESHES)} meshes")
    return found


def _bytes(count: float) -> str:
    return f"{count / 1e6:.3g} MB" if count >= 1e6 else f"{count / 1e3:.3g} kB"


def _losses(found: Sequence[dict[str, Any]]) -> Draw:
    def draw(figure: FigureBase) -> None:
        axes = line_axes(figure, "step", "loss")
        for position, each in enumerate(found):
            steps, size = np.arange(1, len(each["losses"]) + 1), 9 - 1.6 * position
            style: dict[str, Any] = {"color": colour(position), "marker": marker(position), "markersize": size}
            axes.plot(steps, each["losses"], label=each["mesh"], fillstyle="none", linewidth=0.8, **style)
        legend(axes, "lower")

    return draw


def _sent(found: Sequence[dict[str, Any]]) -> Draw:
    def draw(figure: FigureBase) -> None:
        axes = line_axes(figure, "kB sent by each device in a step", "")
        names = [each["mesh"] for each in found]
        axes.barh(names, [each["sent"] / 1e3 for each in found], color=MEAN, height=0.55)
        axes.invert_yaxis()
        axes.grid(False, axis="y")

    return draw
