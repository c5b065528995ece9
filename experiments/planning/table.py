"""A plan in words: the table of what was chosen, and why something does not fit."""

from collections.abc import Mapping

from rich.table import Table

from experiments.experiment import Experiment
from experiments.planning.abstract import Compiled
from experiments.planning.choose import Choice, estimated, fits
from experiments.planning.meshes import as_overrides, candidates, in_words, largest, state_bytes
from pnol_jax.config import ExperimentConfig
from pnol_jax.sharding.roofline import GB, DeviceKind, predict
from pnol_jax.training.step import TrainState

MOST_DEVICES = 4096


def of_choices(
    choices: Mapping[int, Choice | str], alone: Compiled, kind: DeviceKind, config: ExperimentConfig
) -> Table:
    """One line for each number of devices; efficiency is that of strong scaling, against one device as it stands."""
    table = Table("devices", "mesh", "state", "step", "fits", "sent", "step ms", "effic.")
    table.title = (
        f"{config.name} on {kind.name} ({_size(kind.memory)}), batch of {config.training.batch_size}: PREDICTED"
    )
    table.caption = (
        "Of each device: state, memory held from step to step; step, memory used beside it within one; fits, the share "
        "of its memory that both take; sent, bytes in a step. effic.: speed-up over one device, divided by the devices"
    )
    ideal = predict(alone.cost, kind, config.training.precision).step
    for devices, choice in choices.items():
        if isinstance(choice, str):
            table.add_row(str(devices), choice, *["-"] * 6)
            continue
        compiled, step = choice.compiled, choice.prediction.step
        sent = sum(collective.sent for collective in compiled.cost.collectives)
        share = compiled.total / kind.memory
        memory = (_size(compiled.state), _size(compiled.rest), f"{share:.0%}" if share > 0.01 else "<1%")
        speed = (_size(sent), f"{1e3 * step:.3g}", f"{ideal / devices / step:.2f}")
        table.add_row(str(devices), in_words(choice.mesh), *memory, *speed)
    return table


def no_faster(choices: Mapping[int, Choice | str], alone: Compiled, kind: DeviceKind, config: ExperimentConfig) -> str:
    """Which numbers of devices are predicted to be no faster than one; empty where all are."""
    one = predict(alone.cost, kind, config.training.precision).step
    slow = [
        str(devices)
        for devices, choice in choices.items()
        if devices > 1 and isinstance(choice, Choice) and choice.prediction.step >= one
    ]
    if not slow:
        return ""
    return f"no faster than one device, by what is sent and waited for: {', '.join(slow)} devices; a step is too small"


def widened(config: ExperimentConfig) -> str:
    """A note on figures in 16 bits; empty for other precisions."""
    if config.training.precision not in ("bfloat16", "float16"):
        return ""
    return (
        "16-bit fields are counted in 32 bits, as XLA's CPU compiler computes them: on an H200 half of the memory "
        "within a step was enough and, where a step is large, half of the time"
    )


def too_large(state: TrainState, alone: Compiled, kind: DeviceKind) -> str:
    """Why one device cannot hold the run as it stands."""
    arrays = "; ".join(
        f"{array.name} {array.shape}, {array.copies} times {_size(array.bytes)}" for array in largest(state)
    )
    return (
        f"one device, as it stands: needs {_size(alone.total)}, a {kind.name} has {_size(kind.memory)}: "
        f"{_size(alone.state)} of state and {_size(alone.rest)} within a step. Largest: {arrays}"
    )


def where(experiment: Experiment, state: TrainState, alone: Compiled, kind: DeviceKind) -> str:
    """On which number of devices it would fit, by estimate."""
    devices = 2
    while devices <= MOST_DEVICES:
        for mesh in candidates(experiment, devices):
            held = state_bytes(experiment, state, mesh)
            if held is not None and fits(estimated(state, alone, held, mesh), kind):
                words = " ".join(as_overrides(mesh))
                return f"by estimate it fits on {devices} devices: {words}; plan with --devices {devices}"
        devices *= 2
    return (
        f"no mesh of up to {MOST_DEVICES} devices holds it; a smaller training.batch_size or operator.width would help"
    )


def _size(size: float) -> str:
    return f"{size / GB:.3g} GB" if size >= 0.1 * GB else f"{size / 1e6:.3g} MB"
