"""Train a probabilistic operator: `python -m experiments.train CONFIG [OVERLAY.toml ...] [section.key=value ...]`.

The run's folder then holds the model, its calibration, `metrics.json`, `report.html` and `picture.svg`. SIGTERM saves
and exits 75, at any moment: run the same command again with --resume. A checkpoint that cannot be written and that
nothing makes up for ends it with 74.
"""

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
from rich.console import Console

from experiments import lock, runs
from experiments.calibrate import calibrate, check_calibration
from experiments.command import load_config, run
from experiments.experiment import Experiment, open_experiment
from experiments.model import save_model, save_trained
from experiments.risks import check_risks
from experiments.rollout_noise import calibrate_rollout, check_rollout, check_trajectories
from experiments.strangeness import check_strangeness, fit_detector
from pnol_jax.config import ExperimentConfig
from pnol_jax.grids import Grid
from pnol_jax.memory import keep_arena
from pnol_jax.posteriors import Params
from pnol_jax.sharding import lifeline
from pnol_jax.sharding.agreement import agree, facts
from pnol_jax.sharding.divide import current_mesh
from pnol_jax.sharding.heartbeat import Heartbeat
from pnol_jax.sharding.mesh import check_batch, check_members, make_mesh, sizes, use
from pnol_jax.sharding.places import Place
from pnol_jax.sharding.processes import barrier, together
from pnol_jax.training import goodput
from pnol_jax.training.interrupt import RESUME_ME, leave_when_told
from pnol_jax.training.loop import Stopped, train
from pnol_jax.training.optimizers import evaluation_params
from pnol_jax.training.step import TrainState
from pnol_jax.training.storage import SaveFailed, quiet
from pnol_jax.training.trace import step_range

FOLDER_SECONDS = 120  # for the first process to make the run's folder
LOCK_SECONDS = 60  # where a launcher has just ended the one before
NOT_SAVED = 74  # EX_IOERR


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the config, train, calibrate, evaluate."""
    asked = _parser().parse_intermixed_args(arguments)
    keep_arena()
    quiet()
    profiled = step_range(asked.profile) if asked.profile else None
    with together() as place, contextlib.ExitStack() as stack:
        if place.count == 1:  # of several processes JAX lets all stop together
            leave_when_told()
        path, overrides = _config_and_overrides(asked.config, asked.words)
        config = load_config(path, overrides)
        check_calibration(config)
        check_rollout(config)
        check_strangeness(config)
        agree(place, facts(config, [Path(__file__).parent]))
        mesh = make_mesh(config.mesh)
        check_batch(config.training.batch_size, sizes(config.mesh, mesh.size), config.training.accumulate)
        folder = Path(asked.run or f"runs/{config.name}")
        if runs.leads():
            patience = LOCK_SECONDS if lifeline.VARIABLE in os.environ else 0.0
            stack.enter_context(lock.held(folder, patience))
            runs.open_folder(folder, resume=asked.resume, overwrite=asked.overwrite)
            if asked.resume and runs.is_begun(folder):
                runs.check_same(folder, config)
            elif asked.resume:
                print(f"{folder} holds no run to resume: it begins", file=sys.stderr)
        barrier("folder", FOLDER_SECONDS)
        with use(mesh):
            return _run(config, folder, place, profiled, resume=asked.resume, report=not asked.no_report)


def _run(
    config: ExperimentConfig, folder: Path, place: Place, profiled: range | None, *, resume: bool, report: bool
) -> int:
    show = Console(stderr=True, soft_wrap=True, quiet=not runs.leads())
    experiment = open_experiment(config)
    check_risks(experiment)
    check_trajectories(experiment)
    check_members(experiment.posterior.members, sizes(config.mesh, jax.device_count()))
    if resume and (folder / runs.MODEL).is_file():
        again = "calibration and report are" if report else "calibration is"
        show.print(f"{folder} is finished at step {config.training.steps}: {again} made again", highlight=False)
    runs.write_about(folder, experiment)
    show.print(f"{config.name}: {_summary(experiment)}", highlight=False)
    try:
        with Heartbeat(folder, place.index) as heart:
            params = train_model(experiment, folder, resume=resume, beat=heart.beat, profiled=profiled)
    except SaveFailed as failed:
        print(f"error: {failed}", file=sys.stderr)
        raise SystemExit(NOT_SAVED) from None
    except Stopped as stopped:
        show.print(f"{stopped}; go on with --resume", highlight=False)
        return RESUME_ME
    leave_when_told()
    save_trained(folder, params)  # so that a calibration that cannot be loses no training
    experiment, params = calibrate_rollout(experiment, params)
    save_model(folder, params, calibrate(experiment, params), fit_detector(experiment, params))
    if experiment.test and report:
        from experiments.evaluate import evaluate  # here: matplotlib takes a second to import

        evaluate(folder)
        show.print(f"report: {folder / 'report.html'}", highlight=False)
    elif report:
        show.print("no report: data.test names no files to compare with", highlight=False)
    show.print(f"model: {folder}; python -m experiments.export {folder} makes a servable of it", highlight=False)
    return 0


def train_model(
    experiment: Experiment,
    folder: Path,
    *,
    resume: bool = False,
    beat: Callable[[int], None] = lambda _: None,
    profiled: range | None = None,
) -> Params:
    """Train and fit the posterior of an experiment; its parameters, the moving average where one is kept."""
    constants = experiment.constants()
    with experiment.batches() as batches:
        state = train(
            experiment.config,
            experiment.digest,
            experiment.posterior,
            constants,
            batches,
            folder,
            resume=resume,
            beat=beat,
            profiled=profiled,
        )
    began = time.monotonic()
    params = fitted(experiment, state, constants)
    jax.block_until_ready(params)  # type: ignore[no-untyped-call]
    if runs.leads():
        goodput.add(folder, "fit", time.monotonic() - began)
    return params


def fitted(experiment: Experiment, state: TrainState, constants: Params) -> Params:
    """What a state of training predicts with: its moving average where one is kept, the posterior fitted."""
    params = state.average or evaluation_params(experiment.config.optimizer, state.optimizer, state.params)
    params = params | constants
    return experiment.posterior.fit(params, lambda unroll=1: experiment.one_pass(experiment.train, unroll=unroll))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m experiments.train", description=__doc__)
    parser.add_argument(
        "words", nargs="*", metavar="CONFIG | FILE.toml | section.key=value", help="config file, overlays, overrides"
    )
    parser.add_argument("--config", metavar="FILE", help="the config file, if not the first word")
    parser.add_argument("--run", metavar="FOLDER", help="the run's folder (runs/NAME)")
    parser.add_argument(
        "--resume", action="store_true", help="go on from the last checkpoint; begin if there is no run"
    )
    parser.add_argument("--overwrite", action="store_true", help="delete a run that is in the folder")
    parser.add_argument("--profile", metavar="START:STOP", help="trace these steps into FOLDER/profile")
    parser.add_argument("--no-report", action="store_true", help="leave evaluation and report out")
    return parser


def _config_and_overrides(config: str | None, words: list[str]) -> tuple[str, list[str]]:
    if config is not None:
        return config, words
    if not words or "=" in words[0]:
        _parser().error(
            "expected a config file: python -m experiments.train CONFIG [OVERLAY.toml ...] [section.key=value ...]"
        )
    return words[0], words[1:]


def _summary(experiment: Experiment) -> str:
    held = f", {len(experiment.calibration)} for calibration" if experiment.calibration else ""
    grids = ", ".join(_points(experiment, group.grid) for group in experiment.train.groups)
    mesh = current_mesh()
    on = "" if mesh is None else ", mesh " + " ".join(f"{axis}={size}" for axis, size in mesh.shape.items())
    return f"{len(experiment.train)} training cases ({grids}){held}{on}"


def _points(experiment: Experiment, grid: Grid) -> str:
    """How many points there are, and where those of bounded axes lie, which a file without coordinates leaves open."""
    named = zip(experiment.config.data.axes, "xyz", grid.axes, strict=False)
    ends = [
        f"{config.name or name} from {axis.points[0]:.4g} to {axis.points[-1]:.4g} in [0, {axis.length:g}]"
        for config, name, axis in named
        if axis.kind == "bounded"
    ]
    return ", ".join([f"{'x'.join(map(str, grid.shape))} points", *ends])


if __name__ == "__main__":
    run(lambda: main(sys.argv[1:]))
