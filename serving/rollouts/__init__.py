"""Rollouts: the steps of a step model, streamed as they are computed."""

from serving.rollouts.endpoint import RolloutEndpoint
from serving.rollouts.figures import RolloutFigures
from serving.rollouts.service import Rollouts

__all__ = ["RolloutEndpoint", "RolloutFigures", "Rollouts"]
