"""Does a run fit, and how would it scale? `python -m experiments.plan CONFIG --devices 1,8,64 --device-kind h100`.

Compiles the training step for meshes of that many devices without having them: memory of each device, what it sends,
and a PREDICTED step time from a roofline with datasheet figures (`pnol_jax/sharding/roofline.py`); the best mesh for
each number of devices, as overrides for train. Exits with 1 where it fits on none of them. Memory and bytes are those
that XLA's CPU compiler plans, which may differ from a GPU's.
"""

import argparse
import sys
from collections.abc import Sequence

import jax
from rich.console import Console
from rich.table import Table

from experiments.command import run
from experiments.experiment import Experiment, open_experiment
from experiments.planning.abstract import Compiled, abstract_state, compile_step
from experiments.planning.choose import Choice, choose, estimated, fits
from experiments.planning.meshes import candidates, in_words, largest, state_bytes
from pnol_jax.config import ExperimentConfig
from pnol_jax.errors import InputError
from pnol_jax.sharding.mesh import one_device
from pnol_jax.sharding.roofline import GB, KINDS, DeviceKind, device_kind, predict
from pnol_jax.toml import load
from pnol_jax.training.step import TrainState

MOST_DEVICES = 4096


def main(arguments: Sequence[str] | None = None) -> int:
    """Plan what the command line names."""
    asked = _parser().parse_intermixed_args(arguments)
    kind = device_kind(asked.device_kind)
    config, *overrides = asked.words
    settings = load(config, ExperimentConfig, overrides)
    jax.config.update("jax_num_cpu_devices", max(asked.devices))  # type: ignore[no-untyped-call]
    experiment = open_experiment(settings)
    state = abstract_state(experiment)
    alone = compile_step(experiment, one_device())
    show = Console(soft_wrap=True)
    choices = {
        devices: choose(experiment, state, alone, devices, kind) if devices > 1 else _one(alone, kind, settings)
        for devices in asked.devices
    }
    show.print(_table(choices, alone, kind, settings))
    show.print(f"PREDICTED from: {kind.source}; shares reached and latencies in pnol_jax/sharding/roofline.py")
    if not fits(alone.total, kind):
        show.print(_too_large(state, alone, kind), highlight=False)
    found = any(choices.values())
    if not found:
        show.print(_where(experiment, state, alone, kind), highlight=False)
    return 0 if found else 1


def _one(alone: Compiled, kind: DeviceKind, config: ExperimentConfig) -> Choice | None:
    return Choice({}, alone, predict(alone.cost, kind, config.training.precision)) if fits(alone.total, kind) else None


def _table(choices: dict[int, Choice | None], alone: Compiled, kind: DeviceKind, config: ExperimentConfig) -> Table:
    table = Table("devices", "mesh", "state GB", "in a step GB", "sent MB", "step ms", "efficiency")
    batch = config.training.batch_size
    table.title = f"{config.name} on {kind.name} ({kind.memory / GB:g} GB), batch of {batch}: PREDICTED"
    ideal = predict(alone.cost, kind, config.training.precision).step
    for devices, choice in choices.items():
        if choice is None:
            table.add_row(str(devices), "does not fit", *["-"] * 5)
            continue
        compiled, step = choice.compiled, choice.prediction.step
        sent = sum(collective.sent for collective in compiled.cost.collectives)
        figures = (f"{size / GB:.3g}" for size in (compiled.state, compiled.rest))
        cells = (*figures, f"{sent / 1e6:.3g}", f"{1e3 * step:.3g}", f"{ideal / devices / step:.2f}")
        table.add_row(str(devices), in_words(choice.mesh), *cells)
    return table


def _too_large(state: TrainState, alone: Compiled, kind: DeviceKind) -> str:
    arrays = "; ".join(
        f"{array.name} {array.shape}, {array.copies} times {array.bytes / GB:.3g} GB" for array in largest(state)
    )
    return (
        f"one device: needs {alone.total / GB:.3g} GB, a {kind.name} has {kind.memory / GB:g}: "
        f"{alone.state / GB:.3g} GB of state and {alone.rest / GB:.3g} within a step. Largest: {arrays}"
    )


def _where(experiment: Experiment, state: TrainState, alone: Compiled, kind: DeviceKind) -> str:
    """On which number of devices it would fit, by estimate."""
    devices = 2
    while devices <= MOST_DEVICES:
        for mesh in candidates(experiment, devices):
            held = state_bytes(experiment, state, mesh)
            if held is not None and fits(estimated(state, alone, held, mesh), kind):
                return f"by estimate it fits on {devices} devices: {in_words(mesh)}; plan with --devices {devices}"
        devices *= 2
    return (
        f"no mesh of up to {MOST_DEVICES} devices holds it; a smaller training.batch_size or operator.width would help"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m experiments.plan", description=__doc__)
    parser.add_argument("words", nargs="+", metavar="CONFIG | section.key=value", help="config file and overrides")
    parser.add_argument("--devices", type=_numbers, default=[1, 8], metavar="N,N", help="numbers of devices (1,8)")
    parser.add_argument("--device-kind", default="h100", help=f"one of {', '.join(KINDS)} (h100)")
    return parser


def _numbers(text: str) -> list[int]:
    numbers = [int(word) for word in text.split(",")]
    if min(numbers) < 1:
        raise InputError(f"--devices: got {text}, expected numbers of at least 1")
    return numbers


if __name__ == "__main__":
    run(lambda: main(sys.argv[1:]))
