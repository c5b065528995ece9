"""Does a run fit, and how would it scale? `python -m experiments.plan CONFIG --devices 1,8,64 --device-kind h100`.

Compiles the training step for meshes of that many devices without having them: memory of each device, what it sends,
and a PREDICTED step time from a roofline with datasheet figures (`pnol_jax/sharding/roofline.py`); the best mesh for
each number of devices, as overrides for train. What does not fit as it stands is planned with layers computed again and
the batch taken in parts. Exits with 1 where it fits on none of them. Memory and bytes are those that XLA's CPU compiler
plans, which may differ from a GPU's.
"""

import argparse
import sys
from collections.abc import Sequence

import jax
from rich.console import Console

from experiments.command import load_config, run
from experiments.experiment import open_experiment
from experiments.planning import table
from experiments.planning.abstract import abstract_state
from experiments.planning.choose import Choice, best, fits
from experiments.planning.frugal import Ladder
from pnol_jax.sharding.roofline import KINDS, device_kind


def main(arguments: Sequence[str] | None = None) -> int:
    """Plan what the command line names."""
    asked = _parser().parse_intermixed_args(arguments)
    kind = device_kind(asked.device_kind)
    config, *overrides = asked.words
    settings = load_config(config, overrides)
    jax.config.update("jax_platforms", "cpu")  # type: ignore[no-untyped-call]  # also where there are other devices
    jax.config.update("jax_num_cpu_devices", max(asked.devices))  # type: ignore[no-untyped-call]
    experiment = open_experiment(settings)
    state, ladder = abstract_state(experiment), Ladder(experiment)
    alone = ladder.first
    choices = {devices: best(experiment, state, ladder, devices, kind) for devices in asked.devices}
    show = Console(soft_wrap=True)
    show.print(table.of_choices(choices, alone, kind, settings))
    if slow := table.no_faster(choices, alone, kind, settings):
        show.print(slow, highlight=False)
    if half := table.widened(settings):
        show.print(half, highlight=False)
    for devices, choice in choices.items():
        if isinstance(choice, Choice) and choice.overrides:
            show.print(f"{devices} device{'s' * (devices > 1)}: {' '.join(choice.overrides)}", highlight=False)
    show.print(f"PREDICTED from: {kind.source}; shares reached and latencies in pnol_jax/sharding/roofline.py")
    if not fits(alone.total, kind):
        show.print(table.too_large(experiment, state, alone, kind), highlight=False)
    found = any(isinstance(choice, Choice) for choice in choices.values())
    if not found:
        show.print(table.where(experiment, state, alone, kind), highlight=False)
    return 0 if found else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m experiments.plan", description=__doc__)
    parser.add_argument(
        "words", nargs="+", metavar="CONFIG | FILE.toml | section.key=value", help="config file, overlays, overrides"
    )
    parser.add_argument("--devices", type=_numbers, default=[1, 8], metavar="N,N", help="numbers of devices (1,8)")
    parser.add_argument("--device-kind", default="h100", help=f"one of {', '.join(KINDS)} (h100)")
    return parser


def _numbers(text: str) -> list[int]:
    words = text.split(",")
    if not all(word.isdigit() and int(word) for word in words):
        raise argparse.ArgumentTypeError(f"got {text}, expected numbers of at least 1, such as 1,8,64")
    return [int(word) for word in words]


if __name__ == "__main__":
    run(lambda: main(sys.argv[1:]))
