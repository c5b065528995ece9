"""Which cases are worth their simulation: what each says that the model does not know, and batches that do not repeat.

Pure functions. Scores are of each case, larger where it is worth more; selections give the numbers of the chosen cases
in the order in which they were chosen.
"""

from pnol_jax.active.clusters import badge, lcmd
from pnol_jax.active.fidelity import best_fidelities, gains, within_budget
from pnol_jax.active.gradients import Sketch, gradient_features
from pnol_jax.active.reduction import expected_reduction, greedy_reduction, loadings
from pnol_jax.active.residuals import EQUATIONS, residual_norm
from pnol_jax.active.uncertainty import bald, predictive_variance, top

__all__ = [
    "EQUATIONS",
    "Sketch",
    "badge",
    "bald",
    "best_fidelities",
    "expected_reduction",
    "gains",
    "gradient_features",
    "greedy_reduction",
    "lcmd",
    "loadings",
    "predictive_variance",
    "residual_norm",
    "top",
    "within_budget",
]
