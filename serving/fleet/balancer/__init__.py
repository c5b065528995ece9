"""HAProxy before the replicas: its config, its process, and its Runtime API; it is told of changes, never reloaded."""

from serving.fleet.balancer.balancer import Balancer
from serving.fleet.balancer.config import BalancerConfig
from serving.fleet.balancer.figures import BalancerFigures, ServerState
from serving.fleet.balancer.runtime import CommandError, Unreachable
from serving.fleet.balancer.server import Server

__all__ = [
    "Balancer",
    "BalancerConfig",
    "BalancerFigures",
    "CommandError",
    "Server",
    "ServerState",
    "Unreachable",
]
