"""Several processes on one port: started again when they end, and of one mind about versions and figures."""

from serving.workers.role import Role
from serving.workers.supervision import supervise

__all__ = ["Role", "supervise"]
