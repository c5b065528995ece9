"""Probabilistic neural operators: from solved cases of a PDE to a calibrated surrogate in production."""

__version__ = "0.1.0"
