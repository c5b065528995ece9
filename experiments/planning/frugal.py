"""What saves memory, in the order of what it costs in time: less is kept, then the batch is taken in parts."""

from collections.abc import Iterator, Mapping
from typing import Any

from experiments.experiment import Experiment, with_training
from experiments.planning.abstract import Compiled, compile_step
from pnol_jax.config import TrainingConfig
from pnol_jax.sharding.mesh import one_device

MOST_PARTS = 64
Changes = Mapping[str, Any]  # of the training section


class Ladder:
    """An experiment as its config has it, and as it would be with less and less memory; compiled for one device each.

    The rungs are compiled as they are asked for, so that what fits at once costs one compilation.
    """

    def __init__(self, experiment: Experiment) -> None:
        self._experiment = experiment
        self._changes = list(_changes(experiment.config.training))
        self._rungs: list[tuple[Experiment, Compiled]] = []

    @property
    def first(self) -> Compiled:
        """The experiment as it stands, on one device."""
        return next(iter(self))[2]

    def __iter__(self) -> Iterator[tuple[Changes, Experiment, Compiled]]:
        for number, changes in enumerate(self._changes):
            if number == len(self._rungs):
                changed = with_training(self._experiment, changes)
                self._rungs.append((changed, compile_step(changed, one_device())))
            yield (changes, *self._rungs[number])


def _changes(training: TrainingConfig) -> Iterator[Changes]:
    yield {}
    kinds = ("none", "dots", "block", "full")
    for kind in ("block", "full"):
        if kinds.index(kind) > kinds.index(training.remat):
            yield {"remat": kind}
    last = training.accumulate
    for parts in range(2 * last, min(training.batch_size, MOST_PARTS) + 1):
        if training.batch_size % parts == 0 and parts >= 2 * last:
            yield {"remat": "full", "accumulate": parts}
            last = parts
