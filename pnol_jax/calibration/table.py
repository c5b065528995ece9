"""The calibrators there are, by the method that their plain data names. Adding one is a file and a line here."""

from collections.abc import Mapping
from typing import Any

from pnol_jax.calibration.adaptive import AdaptiveConformal
from pnol_jax.calibration.ball import NormBall
from pnol_jax.calibration.chain import read_chain
from pnol_jax.calibration.conformal import SplitConformal
from pnol_jax.calibration.control import RiskControl
from pnol_jax.calibration.groups import GroupConformal
from pnol_jax.calibration.pit import PitRecalibration
from pnol_jax.calibration.protocol import Calibrator
from pnol_jax.calibration.recorded import Recorded
from pnol_jax.calibration.regional import RegionScaling
from pnol_jax.calibration.scaling import VarianceScaling
from pnol_jax.calibration.temperature import TemperatureScaling
from pnol_jax.calibration.weighted import WeightedConformal
from pnol_jax.errors import InputError

CALIBRATORS: Mapping[str, type[Recorded]] = {
    one.method: one
    for one in (
        VarianceScaling,
        TemperatureScaling,
        RegionScaling,
        PitRecalibration,
        SplitConformal,
        RiskControl,
        GroupConformal,
        WeightedConformal,
        AdaptiveConformal,
        NormBall,
    )
}


def calibrator_from_dict(arrays: Mapping[str, Any], metadata: Mapping[str, Any]) -> Calibrator:
    """The calibrator that `to_dict` wrote; arrays may be traced, and others may stand beside them.

    Raises:
        InputError: an unknown method, a missing array, or plain data that is not of the method.
    """
    method = str(metadata.get("method"))
    if method == "chain":
        return read_chain(arrays, metadata, calibrator_from_dict)
    if method not in CALIBRATORS:
        raise InputError(f"calibration.method: got {method!r}, expected one of {', '.join(CALIBRATORS)}, chain")
    made: Any = CALIBRATORS[method].from_dict(arrays, metadata)
    calibrator: Calibrator = made
    return calibrator
