"""A simulated data set in shards, each a task of a pool; the same command again goes on where it stopped.

While it is made the folder holds `unfinished.json`, its plan; at the end `about.json` takes that one's place. Runs of
one plan leave the same files, however often they were ended on the way.
"""

import os
import shutil
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track

from experiments import simulation
from experiments.jobs import Outcome, PoolConfig, open_pool
from experiments.shard_task import ShardTask, left_out, make_shard
from experiments.simulation import Plan
from experiments.unfinished import opened, write_about
from pnol_jax.data import shards
from pnol_jax.data.digests import read_digests, verify
from pnol_jax.errors import InputError

AGAIN = "what is finished stays, and the same command again goes on from there"
CONSOLE = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)


def simulate(plan: Plan, folder: Path, settings: PoolConfig, share: float) -> None:
    """Make the data set of a plan, or what is missing of it. At most a `share` of each grid's cases may fail.

    Raises:
        InputError: the folder is of another plan or another process is at it, too many cases fail, or shards could not
            be made; what is finished stays.
    """
    try:
        with opened(folder, plan) as about:
            failed = Failures(plan, share)
            tasks = _tasks(plan, folder, failed.allowed)
            missing = _missing(tasks, failed)
            if missing:
                _make(missing, settings, failed)
            _finish(plan, tasks)
            write_about(folder, about | {"failed": failed.counts})
    except OSError as error:
        raise InputError(f"{folder}: {error}; {AGAIN}") from error


def _tasks(plan: Plan, folder: Path, allowed: int) -> list[ShardTask]:
    numbers = range(-(-plan.cases // (plan.shard_size or plan.cases)))
    grids = {simulation.group_name(plan.simulator(), points): points for points in plan.points}
    home = str(folder.absolute())
    return [ShardTask(plan, home, grid, n, number, allowed) for grid, n in grids.items() for number in numbers]


def finished(plan: Plan, folder: Path) -> int:
    """How many cases of a plan are written, on all grids."""
    return sum(len(task.cases) for task in _tasks(plan, folder, 0) if task.path.exists())


def _missing(tasks: list[ShardTask], failed: "Failures") -> dict[str, ShardTask]:
    """The shards that are still to be made; what the others leave out is counted."""
    there = [_is_whole(task) for task in track(tasks, "looking for shards", console=CONSOLE, transient=True)]
    if any(there):
        CONSOLE.print(f"{sum(there)} of {len(tasks)} shards are there already")
    for task, is_there in zip(tasks, there, strict=True):
        if is_there:
            failed.add(task, len(left_out(task)))
    return {task.name: task for task, is_there in zip(tasks, there, strict=True) if not is_there}


class Failures:
    """How many cases fail on each grid; too many are an error."""

    def __init__(self, plan: Plan, share: float) -> None:
        self.allowed = int(share * plan.cases)
        self.counts = {simulation.group_name(plan.simulator(), points): 0 for points in plan.points}

    def add(self, task: ShardTask, count: int) -> None:
        """Count those of a shard."""
        self.counts[task.grid] += count
        if self.counts[task.grid] > self.allowed:
            raise InputError(
                f"{self.counts[task.grid]} cases on {task.grid} points cannot be computed so far, expected at most "
                f"{self.allowed} (--allow-failures); in {task.name}: {left_out(task)[0]}"
            )


def _is_whole(task: ShardTask) -> bool:
    """Whether a shard is there; one that is damaged is named and taken away."""
    if not task.path.exists():
        return False
    try:
        verify(task.path, read_digests(task.path))
        return True
    except InputError as error:
        CONSOLE.print(f"{error}; the shard is made again")
    aside = task.path.with_name(f".{task.path.name}.damaged")
    os.rename(task.path, aside)
    shutil.rmtree(aside)
    return False


def _make(missing: dict[str, ShardTask], settings: PoolConfig, failed: Failures) -> None:
    with open_pool(settings, "shards") as pool:
        for outcome in pool.map(make_shard, missing):
            _note(outcome, missing[outcome.name], failed)
    if pool.failed:
        raise InputError(f"{len(pool.failed)} of {len(missing)} shards could not be made; {AGAIN}")


def _note(outcome: Outcome, task: ShardTask, failed: Failures) -> None:
    """Count what a shard leaves out. An error that would befall the other shards too ends the run."""
    if isinstance(outcome.error, InputError):
        raise InputError(f"{task.name}: {outcome.error}")
    if isinstance(outcome.error, OSError):
        raise OSError(f"{task.name}: {outcome.error}")
    if outcome.error is None:
        failed.add(task, outcome.value)


def _finish(plan: Plan, tasks: list[ShardTask]) -> None:
    """Write coordinates and digests of each group."""
    simulator = plan.simulator()
    for points in plan.points:
        group = [task for task in tasks if task.points == points]
        files = (task.path / f"{simulator.outputs[0]}.npy" for task in group)
        first = next((np.load(file, mmap_mode="r") for file in files if file.exists()), None)
        if first is None:
            raise InputError(f"{group[0].grid}: none of the cases can be computed; {left_out(group[0])[0]}")
        coordinates = simulation.coordinates(simulator, points, first.shape[1])
        shards.write_group(group[0].path.parent, [task.path.name for task in group], coordinates)
