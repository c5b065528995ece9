"""What follows from a predictive for quantities that somebody decides by: functionals, extremes, thresholds.

A functional of a whole field needs the field's joint distribution. From variances at each point alone its error does
not follow: errors that all go the same way add up, independent ones average out, and between the two lies a factor of
the root of the number of points. So it is asked of a posterior that knows (`functional`, exact) or that draws.
"""

from pnol_jax.risk.figures import (
    Risk,
    from_draws,
    from_functional,
    from_marginals,
    functional_after,
    linear_weights,
    true_value,
)
from pnol_jax.risk.region import inside

__all__ = [
    "Risk",
    "from_draws",
    "from_functional",
    "from_marginals",
    "functional_after",
    "inside",
    "linear_weights",
    "true_value",
]
