"""The calibrators there are, by the method that their plain data names. Adding one is a file and a line here."""

from collections.abc import Mapping
from typing import Any, Protocol

from pnol_jax.calibration.conformal import SplitConformal
from pnol_jax.calibration.record import Arrays, Metadata
from pnol_jax.calibration.scaling import VarianceScaling
from pnol_jax.errors import InputError
from pnol_jax.predictive import Predictive


class Calibrator(Protocol):
    """A pytree of arrays with static plain data, so that a compiled or exported program can take it as weights."""

    def __call__(self, predictive: Predictive) -> Predictive:
        """The calibrated predictive; pure and jittable."""
        ...

    @property
    def guarantee(self) -> Metadata:
        """What is promised: method, level, kind, cases, and a statement in words."""
        ...

    def to_dict(self) -> tuple[Arrays, Metadata]:
        """Arrays by dotted name, and the guarantee; `calibrator_from_dict` is the inverse."""
        ...


CALIBRATORS: Mapping[str, type[VarianceScaling] | type[SplitConformal]] = {
    "variance_scaling": VarianceScaling,
    "split_conformal": SplitConformal,
}


def calibrator_from_dict(arrays: Mapping[str, Any], metadata: Mapping[str, Any]) -> Calibrator:
    """The calibrator that `to_dict` wrote; arrays may be traced, and others may stand beside them.

    Raises:
        InputError: an unknown method, a missing array, or plain data that is not of the method.
    """
    method = str(metadata.get("method"))
    if method not in CALIBRATORS:
        raise InputError(f"calibration.method: got {method!r}, expected one of {', '.join(CALIBRATORS)}")
    return CALIBRATORS[method].from_dict(arrays, metadata)
