"""Calibrators: fitted on cases held out from training, they map a Predictive to a Predictive on any grid.

Each is fitted from scores with one row a case, and the cases may come from several grids: compute the rows batch by
batch, put them side by side, and hand them to `from_scores`. The case is the unit of all counting: the points of one
field depend on each other, so ten thousand of them are still one piece of evidence.
"""

from pnol_jax.calibration.adaptive import AdaptiveConformal
from pnol_jax.calibration.ball import NormBall, ball_scores
from pnol_jax.calibration.chain import Chain
from pnol_jax.calibration.conformal import SplitConformal
from pnol_jax.calibration.conformity import conformity_scores, least_cases
from pnol_jax.calibration.control import RiskControl
from pnol_jax.calibration.groups import GroupConformal, group_variable
from pnol_jax.calibration.modulation import Modulation
from pnol_jax.calibration.pit import PitRecalibration, pit_scores
from pnol_jax.calibration.protocol import Asked, Calibrator
from pnol_jax.calibration.ratio import LikelihoodRatio
from pnol_jax.calibration.regional import RegionScaling, regional_scores
from pnol_jax.calibration.scaling import VarianceScaling, squared_scores
from pnol_jax.calibration.table import CALIBRATORS, calibrator_from_dict
from pnol_jax.calibration.temperature import TemperatureScaling, temperature_scores
from pnol_jax.calibration.weighted import WeightedConformal

__all__ = [
    "CALIBRATORS",
    "AdaptiveConformal",
    "Asked",
    "Calibrator",
    "Chain",
    "GroupConformal",
    "LikelihoodRatio",
    "Modulation",
    "NormBall",
    "PitRecalibration",
    "RegionScaling",
    "RiskControl",
    "SplitConformal",
    "TemperatureScaling",
    "VarianceScaling",
    "WeightedConformal",
    "ball_scores",
    "calibrator_from_dict",
    "conformity_scores",
    "group_variable",
    "least_cases",
    "pit_scores",
    "regional_scores",
    "squared_scores",
    "temperature_scores",
]
