"""Calibrators: fitted on cases held out from training, they map a Predictive to a Predictive on any grid.

Each is fitted from scores with one row a case, and the cases may come from several grids: compute the rows batch by
batch, put them side by side, and hand them to `from_scores`. The case is the unit of all counting: the points of one
field depend on each other, so ten thousand of them are still one piece of evidence.
"""

from pnol_jax.calibration.conformal import SplitConformal, conformity_scores, least_cases
from pnol_jax.calibration.scaling import VarianceScaling, squared_scores
from pnol_jax.calibration.table import CALIBRATORS, Calibrator, calibrator_from_dict

__all__ = [
    "CALIBRATORS",
    "Calibrator",
    "SplitConformal",
    "VarianceScaling",
    "calibrator_from_dict",
    "conformity_scores",
    "least_cases",
    "squared_scores",
]
