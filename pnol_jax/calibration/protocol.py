"""What every calibrator is, and what it may look at beside the predictive."""

from typing import NamedTuple, Protocol

import jax

from pnol_jax.bases import GridOperands
from pnol_jax.calibration.record import Arrays, Metadata
from pnol_jax.errors import InputError
from pnol_jax.predictive import Predictive


class Asked(NamedTuple):
    """What a model was asked: inputs (batch, *space, channels) and the operands of their grid."""

    inputs: jax.Array
    grid: GridOperands


class Calibrator(Protocol):
    """A pytree of arrays with static plain data, so that a compiled or exported program can take it as weights."""

    def __call__(self, predictive: Predictive, asked: Asked | None = None) -> Predictive:
        """The predictive, (batch, *space, channels), calibrated; pure and jittable. Some must know what was asked."""
        ...

    @property
    def guarantee(self) -> Metadata:
        """What is promised: method, level, kind, cases, and a statement in words."""
        ...

    def to_dict(self) -> tuple[Arrays, Metadata]:
        """Arrays by dotted name, and the guarantee; `calibrator_from_dict` is the inverse."""
        ...


def needed(asked: Asked | None, what: str) -> Asked:
    """What was asked, for a calibrator that cannot do without.

    Raises:
        InputError: it was not handed over.
    """
    if asked is None:
        raise InputError(f"{what}: got the predictive alone, expected what was asked too: Asked(inputs, grid)")
    return asked
