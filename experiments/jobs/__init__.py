"""Many jobs at once: in this process, on workers of this machine, on SLURM, or on a scheduler that runs already."""

from experiments.jobs.opening import open_pool
from experiments.jobs.pool import Outcome, Pool
from experiments.jobs.settings import PoolConfig, SlurmConfig, add_flags, from_flags

__all__ = ["Outcome", "Pool", "PoolConfig", "SlurmConfig", "add_flags", "from_flags", "open_pool"]
