"""One shard of a simulated data set, as a task that any process can do which has the same code."""

from pathlib import Path

import msgspec

from experiments import simulation
from experiments.simulation import Plan
from pnol_jax.data import shards


class ShardTask(msgspec.Struct, frozen=True):
    """A shard to be made: some cases on one grid, of which `allowed` may fail."""

    plan: Plan
    folder: str
    grid: str
    points: int
    number: int
    allowed: int

    @property
    def cases(self) -> range:
        """The numbers of its cases."""
        size = self.plan.shard_size or self.plan.cases
        return range(self.number * size, min((self.number + 1) * size, self.plan.cases))

    @property
    def name(self) -> str:
        """Where it is in the data set."""
        return f"{self.grid}/{shards.shard_name(self.number)}"

    @property
    def path(self) -> Path:
        """Its folder."""
        return Path(self.folder, self.name)


def make_shard(task: ShardTask) -> int:
    """Compute a shard and write it. Returns how many cases were left out.

    Raises:
        InputError: this worker has other code or packages than the plan, or more cases fail than are allowed.
        OSError: the disk is full or read-only.
    """
    plan = task.plan
    simulation.check_code(plan)
    cases = simulation.compute(plan.simulator(), plan.seed, task.cases, task.points, task.allowed)
    shards.write_shard(task.path.parent, task.path.name, cases)
    return len(left_out(task))


def left_out(task: ShardTask) -> list[str]:
    """The errors of the cases that a shard leaves out."""
    return [f"case {line['case']}: {line['error']}" for line in shards.read_lines(task.path) if "error" in line]
