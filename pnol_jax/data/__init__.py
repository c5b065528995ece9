"""Data: reading solved cases, normalising them, and batches of them for training and evaluation."""

from pnol_jax.data.batches import HostBatch, evaluation_batches
from pnol_jax.data.cases import CaseGroup, CaseSet
from pnol_jax.data.normalisers import denormalise, fit_normaliser, normalise
from pnol_jax.data.pipeline import Pipeline
from pnol_jax.data.sources import read_cases
from pnol_jax.data.spec import AxisSpec, SourceSpec

__all__ = [
    "AxisSpec",
    "CaseGroup",
    "CaseSet",
    "HostBatch",
    "Pipeline",
    "SourceSpec",
    "denormalise",
    "evaluation_batches",
    "fit_normaliser",
    "normalise",
    "read_cases",
]
