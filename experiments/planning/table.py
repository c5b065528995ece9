"""A plan in words: the table of what was chosen, and why something does not fit."""

from collections.abc import Mapping

from rich.table import Table

from experiments.experiment import Experiment
from experiments.planning.abstract import Compiled, kept
from experiments.planning.choose import Choice, estimated, fits
from experiments.planning.meshes import as_overrides, candidates, held, in_words, state_bytes
from pnol_jax.config import ExperimentConfig
from pnol_jax.sharding.roofline import GB, DeviceKind, predict
from pnol_jax.training.step import TrainState

MOST_DEVICES = 4096
SHOWN = 4  # arrays


def of_choices(
    choices: Mapping[int, Choice | str], alone: Compiled, kind: DeviceKind, config: ExperimentConfig
) -> Table:
    """One line for each number of devices; efficiency is that of strong scaling, against one device as it stands."""
    table = Table("devices", "mesh", "state", "step", "memory used", "sent", "step ms", "effic.")
    table.title = (
        f"{config.name} on {kind.name} ({_size(kind.memory)}), batch of {config.training.batch_size}: PREDICTED"
    )
    table.caption = (
        "Of each device: state, memory held from step to step; step, what it takes beside that within one; "
        "memory used, the share of its memory that both take; sent, bytes in a step. effic.: speed-up over one device, "
        "divided by the devices"
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
        speed = (_size(sent), _milliseconds(step), f"{ideal / devices / step:.2f}")
        table.add_row(str(devices), in_words(choice.mesh), *memory, *speed)
    return table


def no_faster(choices: Mapping[int, Choice | str], alone: Compiled, kind: DeviceKind, config: ExperimentConfig) -> str:
    """Which numbers of devices are predicted to be no faster than fewer; empty where all are."""
    steps = {1: predict(alone.cost, kind, config.training.precision).step}
    slow: dict[int, list[str]] = {}
    for devices, choice in sorted((one for one in choices.items() if one[0] > 1), key=lambda one: one[0]):
        if isinstance(choice, Choice):
            fastest = min(steps, key=steps.__getitem__)
            if choice.prediction.step >= steps[fastest]:
                slow.setdefault(fastest, []).append(str(devices))
            steps[devices] = choice.prediction.step
    return "\n".join(
        f"no faster than {'one device' if fewer == 1 else f'{fewer} devices'}, by what is sent and waited for: "
        f"{', '.join(more)} devices; a step is too small"
        for fewer, more in slow.items()
    )


def widened(config: ExperimentConfig) -> str:
    """A note on figures in 16 bits; empty for other precisions."""
    if config.training.precision not in ("bfloat16", "float16"):
        return ""
    return (
        "16-bit fields are counted in 32 bits, as XLA's CPU compiler computes them: on an H200 half of the memory "
        "within a step was enough and, where a step is large, half of the time"
    )


def too_large(experiment: Experiment, state: TrainState, alone: Compiled, kind: DeviceKind) -> str:
    """Why one device cannot hold the run as it stands, with the largest arrays of state and step."""
    forward = kept(experiment)
    largest = sorted(held(state) + forward, key=lambda array: -array.total)[:SHOWN]
    arrays = "; ".join(
        f"{array.name or 'kept for the backward pass'} {array.shape}, {array.number} x {_size(array.bytes)}"
        for array in largest
    )
    return (
        f"one device, as it stands: needs {_size(alone.total)} of {_size(kind.memory)} ({kind.name}): "
        f"{_size(alone.state)} of state and {_size(alone.rest)} within a step, in which about "
        f"{_size(sum(array.total for array in forward))} are kept for the backward pass. Largest: {arrays}"
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


def _milliseconds(seconds: float) -> str:
    size = 1e3 * seconds
    return f"{size:,.0f}" if size >= 100 else f"{size:.3g}"


def _size(size: float) -> str:
    return f"{size / GB:.3g} GB" if size >= 0.1 * GB else f"{size / 1e6:.3g} MB"
