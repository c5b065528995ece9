"""Write the servable of a trained run: `python -m experiments.export RUN` makes models/NAME/VERSION.

A run in float64 is served in float32, which is what requests and answers have. With `--optimise` a variant of what was
exported before becomes the next version: `bfloat16`, `int8` (weights), `members=K` of an ensemble or heads, or several
of them. It is calibrated anew; what it loses on the test cases stands in its manifest, and above a limit it is refused.
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import structs
from rich.console import Console

from experiments import runs
from experiments.command import run
from experiments.experiment import Experiment, channel_names, open_experiment
from experiments.model import Model, load_model
from experiments.risks import by_draws, exact, risks_of
from pnol_jax.config import ExperimentConfig
from pnol_jax.data import AxisSpec, CaseGroup, fit_normaliser
from pnol_jax.data.spec import PLACEMENTS, uniform_points
from pnol_jax.errors import InputError
from pnol_jax.grids import Axis, Grid, Placement
from pnol_jax.memory import keep_arena
from pnol_jax.servable import Answers, AxisSignature, BasisSignature, Channel, Figure, Signature, write_servable

OF_SHARES = ".exceedance"  # a figure without a unit


def main(arguments: Sequence[str] | None = None) -> int:
    """Export the run that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m experiments.export", description=__doc__)
    parser.add_argument("run", help="the run's folder")
    parser.add_argument("--to", default="models", help="folder of servables (models)")
    parser.add_argument("--name", help="the servable's name (export.name of the config, else its name)")
    parser.add_argument("--version", help="its version (the number after the last one there)")
    parser.add_argument(
        "--optimise", nargs="+", metavar="WORD", help="a smaller variant: bfloat16, int8, members=K, or several"
    )
    parser.add_argument(
        "--max-loss", type=float, help="the most that it may lose (export.max_loss of the config, 0.02)"
    )
    asked = parser.parse_args(arguments)
    keep_arena()
    where = (Path(asked.run), Path(asked.to), asked.name, asked.version)
    if asked.optimise:
        from experiments.variants import export_variant, read_recipe  # here: they stand on this module

        path = export_variant(*where, read_recipe(asked.optimise), asked.max_loss)
    elif asked.max_loss is not None:
        raise InputError("--max-loss: expected with --optimise only")
    else:
        path = export(*where)
    Console(stderr=True, soft_wrap=True).print(f"servable: {path}", highlight=False)
    return 0


def export(folder: Path, to: Path, name: str | None = None, version: str | None = None) -> Path:
    """Write the servable of a run and return its path.

    Raises:
        InputError: the run is not finished, the version exists, or a bucket is too small for the modes.
    """
    experiment = open_experiment(as_served(runs.read_config(folder)))
    model = load_model(folder, experiment)
    name = name or served_name(experiment)
    return write_servable(
        to,
        name,
        version or next_version(to / name),
        predict=model.predict,
        weights=model.params,
        **described(folder, experiment, model),
        functional=None if exact(experiment.posterior) is None else model.functional,
    )


def described(folder: Path, experiment: Experiment, model: Model) -> dict[str, Any]:
    """What a servable of a run says beside its function: arguments of `write_servable`."""
    settings, own = experiment.config.export, replace(experiment, config=runs.read_config(folder))
    return {
        "signature": signature(experiment),
        "alarm": model.alarm,
        "buckets": buckets(experiment),
        "num_samples": settings.num_samples,
        "tests": _tests(experiment),
        "calibration": model.guarantee,
        "provenance": runs.provenance(own) | {"run": folder.name},
    }


def served_name(experiment: Experiment) -> str:
    """What its servable is called if nothing else is said."""
    return experiment.config.export.name or experiment.config.name


def buckets(experiment: Experiment) -> list[tuple[int, ...]]:
    """The sizes of grids up to which it can be asked."""
    asked = [tuple(bucket) for bucket in experiment.config.export.buckets]
    return asked or sorted({group.grid.shape for group in experiment.train.groups})


def as_served(config: ExperimentConfig) -> ExperimentConfig:
    """The config with the precision that a servable computes in."""
    precision = "float32" if config.training.precision == "float64" else config.training.precision
    return structs.replace(config, training=structs.replace(config.training, precision=precision))


def next_version(folder: Path) -> str:
    """One more than the largest version number in the folder."""
    taken = [int(path.name) for path in folder.glob("*") if path.name.isdigit()] if folder.is_dir() else []
    return str(max(taken, default=0) + 1)


def signature(experiment: Experiment) -> Signature:
    """What the servable's function maps to what."""
    config, cases = experiment.config, experiment.train
    state = list(_channels(config.data.outputs, config.data.output_units, cases.output_channels))
    static = cases.input_channels - (cases.output_channels if cases.trajectories else 0)
    given = list(_channels(config.data.inputs, config.data.input_units, static))
    placed = zip(config.data.axes, experiment.bases, cases.groups[0].grid.axes, strict=True)
    return Signature(
        inputs=tuple(state + given if cases.trajectories else given),
        outputs=tuple(state),
        axes=tuple(
            AxisSignature(
                name=axis.name or "xyz"[position],
                unit=axis.unit,
                kind=axis.kind,
                length=axis.length,
                basis=BasisSignature(basis.kind, basis.modes, basis.padding, basis.ridge),
                placement=served_placement(trained_on),
            )
            for position, (axis, basis, trained_on) in enumerate(placed)
        ),
        method=str(type(config.posterior).__struct_config__.tag),
        answers=_answers(experiment),
        time_step=config.data.time_step,
        levels=tuple(getattr(config.posterior, "levels", ())),
        figures=_figures(experiment),
    )


def _answers(experiment: Experiment) -> tuple[Answers, ...]:
    drawn: tuple[Answers, ...] = ("samples",) if experiment.posterior.has_samples else ()
    return ("moments", *drawn, "functional") if exact(experiment.posterior) else ("moments", *drawn)


def _figures(experiment: Experiment) -> tuple[Figure, ...]:
    strange = [Figure("ood")] if experiment.config.ood is not None else []
    scale = fit_normaliser(experiment.train)["outputs.std"]
    units = [*experiment.config.data.output_units, *[""] * len(scale)]
    risks = [
        Figure(
            name,
            "" if name.endswith(OF_SHARES) or risk.of_marginals else units[risk.channel],
            1.0 if name.endswith(OF_SHARES) or risk.of_marginals else float(scale[risk.channel]),
            "samples" if by_draws(risk, experiment.posterior) else "moments",
        )
        for risk in risks_of(experiment)
        for name in risk.names
    ]
    return (*strange, *risks)


def served_placement(axis: Axis) -> Placement:
    """Where points sit if a request does not say: as on the training grid, where that is uniform."""
    for placement in PLACEMENTS:
        uniform = uniform_points(AxisSpec(axis.kind, axis.length, placement), axis.n)
        if np.allclose(axis.points, uniform, atol=1e-9 * axis.length):
            return placement
    return "left"


def _channels(names: Sequence[str], units: Sequence[str], count: int) -> Iterable[Channel]:
    """The channels of the named arrays, with their units."""
    padded = list(units) + [""] * (count - len(units))
    return (Channel(label, unit) for label, unit in zip(channel_names(names, count), padded, strict=False))


def _tests(experiment: Experiment) -> list[tuple[Any, Grid]]:
    """The first training case of each of at most three grids."""
    return [(_first_inputs(group), group.grid) for group in experiment.train.groups[:3]]


def _first_inputs(group: CaseGroup) -> Any:
    if group.times is None:
        return group.inputs[0]
    return np.concatenate([group.outputs[0][0], group.inputs[0]], axis=-1)


if __name__ == "__main__":
    run(lambda: main(sys.argv[1:]))
