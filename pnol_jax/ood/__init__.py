"""Whether an input is of the kind that the model was trained on: one number a case, with a calibrated alarm rate."""

from pnol_jax.ood.auroc import auroc
from pnol_jax.ood.components import Components
from pnol_jax.ood.detector import Detector, least_for
from pnol_jax.ood.gaussian import FeatureGaussian, shrunk

__all__ = ["Components", "Detector", "FeatureGaussian", "auroc", "least_for", "shrunk"]
