"""Several calibrators one after the other: scaling, then a band."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax

from pnol_jax.calibration.protocol import Asked, Calibrator
from pnol_jax.calibration.record import Arrays, Metadata
from pnol_jax.errors import InputError
from pnol_jax.predictive import Predictive


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Chain:
    """Each step gets what those before it made of the predictive.

    Each must have been fitted on cases that no other step has seen: a guarantee takes what comes before as given. What
    is promised is what the last step with a level promises.
    """

    steps: tuple[Calibrator, ...]

    def __post_init__(self) -> None:
        if not self.steps:
            raise InputError("calibration.steps: got none, expected at least one")

    def __call__(self, predictive: Predictive, asked: Asked | None = None) -> Predictive:
        """The predictive after the last step."""
        for step in self.steps:
            predictive = step(predictive, asked)
        return predictive

    @property
    def guarantee(self) -> Metadata:
        """That of the last step with a level, or of the last one; and all of them under `steps`."""
        each = [step.guarantee for step in self.steps]
        promised = next((one for one in reversed(each) if one["level"] is not None), each[-1])
        return promised | {"method": "chain", "steps": each}

    def to_dict(self) -> tuple[Arrays, Metadata]:
        """Arrays by dotted name, after the number of their step, and the guarantee."""
        arrays: Arrays = {}
        for position, step in enumerate(self.steps):
            arrays |= {f"{position}.{name}": value for name, value in step.to_dict()[0].items()}
        return arrays, self.guarantee


def read_chain(
    arrays: Mapping[str, Any],
    metadata: Mapping[str, Any],
    read: Callable[[Mapping[str, Any], Mapping[str, Any]], Calibrator],
) -> Chain:
    """The inverse of `to_dict`; `read` is that of a step."""
    steps = metadata.get("steps")
    if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
        raise InputError(f"calibration.steps: got {steps!r}, expected a list of what each step promises")
    made = []
    for position, step in enumerate(steps):
        lead = f"{position}."
        own = {name.removeprefix(lead): value for name, value in arrays.items() if name.startswith(lead)}
        made.append(read(own, step))
    return Chain(tuple(made))
