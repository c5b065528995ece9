"""Optimisers by the name that a config gives them, from optax."""

from pnol_jax.training.optimizers.make import evaluation_params, learning_rate, make_optimizer
from pnol_jax.training.optimizers.schedules import schedule

__all__ = ["evaluation_params", "learning_rate", "make_optimizer", "schedule"]
