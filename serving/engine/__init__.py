"""The engine: cases on any grids go through compiled programs in batches. It knows nothing of HTTP."""

from serving.engine.jobs import Arrays, Job
from serving.engine.replicas import Replicas
from serving.engine.statistics import EngineStatistics
from serving.engine.thread import Engine

__all__ = ["Arrays", "Engine", "EngineStatistics", "Job", "Replicas"]
