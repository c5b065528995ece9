"""Other error bars for a trained run: `python -m experiments.recalibrate RUN [FILE.toml ...] [section.key=value ...]`.

Only calibration, ood, risk and export may change; nothing is trained, and the cases held out stay the same. The run is
then what it would be had it been trained with these settings. Its report is written again.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from experiments import lock, runs
from experiments.calibrate import calibrate, check_calibration
from experiments.command import run
from experiments.evaluate import evaluate
from experiments.experiment import Experiment, open_experiment
from experiments.model import CALIBRATION, OOD, save_model, trained_params, withdraw
from experiments.risks import check_risks
from experiments.rollout_noise import calibrate_rollout, check_rollout, check_trajectories
from experiments.strangeness import check_strangeness, fit_detector
from pnol_jax.config import ExperimentConfig
from pnol_jax.errors import InputError
from pnol_jax.memory import keep_arena
from pnol_jax.sharding.mesh import mesh_or_one_device, use
from pnol_jax.toml import load

SECTIONS = ("calibration", "ood", "risk", "export")


def main(arguments: Sequence[str] | None = None) -> int:
    """Recalibrate the run that the command line names, on its mesh or, where that does not fit, one device."""
    parser = argparse.ArgumentParser(prog="python -m experiments.recalibrate", description=__doc__)
    parser.add_argument("run", help="the run's folder")
    parser.add_argument("words", nargs="*", metavar="FILE.toml | section.key=value", help="overlays, overrides")
    asked = parser.parse_intermixed_args(arguments)
    keep_arena()
    folder = Path(asked.run)
    with lock.held(folder):
        config = changed(folder, asked.words)
        with use(mesh_or_one_device(config.mesh, config.training.batch_size)):
            recalibrate(folder, config)
    return 0


def changed(folder: Path, words: Sequence[str]) -> ExperimentConfig:
    """The config of a run with overlays and overrides.

    Raises:
        InputError: the folder holds no trained run, or what changes would take another training.
    """
    old = runs.read_config(folder)
    runs.check_finished(folder)
    config = load(folder / runs.CONFIG, ExperimentConfig, words)
    others = [
        name
        for name in ExperimentConfig.__struct_fields__
        if name not in SECTIONS and getattr(old, name) != getattr(config, name)
    ]
    if others:
        raise InputError(
            f"recalibrate: got another {', '.join(others)} than {folder} was trained with; expected changes in "
            f"{', '.join(SECTIONS)} alone, or a training of its own"
        )
    return config


def recalibrate(folder: Path, config: ExperimentConfig) -> None:
    """Calibrate a trained run by a config that differs in these sections, and write it back into its folder.

    Raises:
        InputError: the calibration cannot be, or the data is not what the run was trained on; the run stays as it was.
    """
    check_calibration(config)
    check_rollout(config)
    check_strangeness(config)
    experiment = open_experiment(config)
    runs.check_data(folder, experiment)
    check_risks(experiment)
    check_trajectories(experiment)
    whole = trained_params(folder, experiment)
    params = {name: value for name, value in whole.items() if not name.startswith((CALIBRATION, OOD))}
    rest, params = calibrate_rollout(experiment, params)
    calibrator, detector = calibrate(rest, params), fit_detector(rest, params)
    withdraw(folder)
    runs.write_recalibrated(folder, experiment)
    save_model(folder, params, calibrator, detector)
    if experiment.test:
        evaluate(folder)
    Console(stderr=True, soft_wrap=True).print(f"{folder}: {_said(experiment)}", highlight=False)


def _said(experiment: Experiment) -> str:
    settings = experiment.config.calibration
    return (
        "no calibration" if settings.kind == "none" else f"calibrated anew, {settings.kind}, level {settings.level:g}"
    )


if __name__ == "__main__":
    run(lambda: main(sys.argv[1:]))
