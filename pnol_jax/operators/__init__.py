"""Neural operators: maps between functions, whatever the grid on which these are sampled."""

from pnol_jax.operators.functional import Functional, functional
from pnol_jax.operators.table import OPERATORS, build_operator

__all__ = ["OPERATORS", "Functional", "build_operator", "functional"]
