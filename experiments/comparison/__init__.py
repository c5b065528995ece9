"""Runs beside each other on the same test cases: scores, cost, pictures, one page."""

from experiments.comparison.compared import Comparison, compared
from experiments.comparison.page import write_comparison

__all__ = ["Comparison", "compared", "write_comparison"]
