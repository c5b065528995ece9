"""Where uncertainty comes from: each posterior says how it is trained and what it predicts."""

from pnol_jax.posteriors.protocol import (
    Batch,
    ExactFunctionals,
    FitBatch,
    Params,
    Posterior,
    constant,
    trained,
)
from pnol_jax.posteriors.table import POSTERIORS, build_posterior

__all__ = [
    "POSTERIORS",
    "Batch",
    "ExactFunctionals",
    "FitBatch",
    "Params",
    "Posterior",
    "build_posterior",
    "constant",
    "trained",
]
