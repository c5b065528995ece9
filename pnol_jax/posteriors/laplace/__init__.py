"""Linearised Laplace: curvature, evidence, and the Gaussian process over output fields that follows."""

from pnol_jax.posteriors.laplace.posterior import Laplace
from pnol_jax.posteriors.laplace.process import GaussianProcess

__all__ = ["GaussianProcess", "Laplace"]
