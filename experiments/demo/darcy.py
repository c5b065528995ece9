"""The Darcy model of quickstart, with a detector of strange inputs; trained on first use, and kept."""

import subprocess
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from experiments import quickstart
from experiments.demo.shown import Stage
from pnol_jax.data.fetch import DARCY, fetch
from pnol_jax.errors import InputError

MODEL, DATA, OOD = "darcy", Path("data/darcy"), "ood.false_alarm=0.05"


def models(stage: Stage) -> Path:
    """The folder of its servable.

    Raises:
        InputError: it could not be trained; the message names the log.
    """
    folder, run = stage.folder / "models", stage.folder / MODEL
    fetch(DARCY, DATA)
    if not (folder / MODEL / "1" / "manifest.json").exists():  # an interrupted export leaves a folder without
        stage.say("training on 900 solved cases of Darcy flow (once, about a minute)")
        _run(stage, "train", quickstart.CONFIG, "--run", str(run), "--overwrite", OOD, *stage.overrides)
        stage.say("exporting the servable")
        _run(stage, "export", str(run), "--to", str(folder))
    return folder


def cases() -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """The test cases at n = 32, of which training saw none: inputs and truths, (cases, 31, 31, 1)."""
    fetch(DARCY, DATA)
    found = np.load(quickstart.UNSEEN)
    inputs, truths = found["permeability"], found["pressure"]
    return inputs[:, 1:, 1:, None].astype(np.float32), truths[:, 1:, 1:, None].astype(float)


def _run(stage: Stage, command: str, *words: str) -> None:
    """A command of the project, with a log in place of what it prints."""
    path = stage.folder / f"{command}.log"
    with path.open("w") as log:
        done = subprocess.run([sys.executable, "-m", f"experiments.{command}", *words], stdout=log, stderr=log)
    if done.returncode:
        raise InputError(f"experiments.{command} ended with status {done.returncode}: see {path}")
