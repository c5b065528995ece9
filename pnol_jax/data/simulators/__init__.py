"""Simulators that make solved cases: what is computed, from which random functions, on which grids."""

from pnol_jax.data.simulators.table import SIMULATORS, Simulator

__all__ = ["SIMULATORS", "Simulator"]
