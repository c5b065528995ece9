"""How many replicas a fleet needs: observations in, decisions with their reasons out; nothing here acts."""

from serving.fleet.scaling.config import ScalingConfig, hpa
from serving.fleet.scaling.observation import Decision, Observation, Recommendation
from serving.fleet.scaling.scaler import Scaler

__all__ = ["Decision", "Observation", "Recommendation", "Scaler", "ScalingConfig", "hpa"]
