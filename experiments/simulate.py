"""Simulate solved cases: `python -m experiments.simulate PROBLEM --cases N --points n,n [parameter=value ...]`.

Writes a folder of memory-mapped arrays, a group for each grid, with everything that made them in about.json and each
case's seed in cases.jsonl. Case i depends on the seed and i alone: neither on how many cases are asked nor on the
grids. Many cases, or several workers, make shards; the same command again goes on where it stopped.
"""

import argparse
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from experiments import runs, sharded, simulation
from experiments.command import run
from experiments.jobs import PoolConfig, add_flags, from_flags
from experiments.jobs.pool import each_minute
from experiments.simulation import Plan
from experiments.unfinished import is_in_shards, refuse_finished
from pnol_jax import toml
from pnol_jax.data import arrays
from pnol_jax.data.shards import Case, as_line
from pnol_jax.data.simulators import SIMULATORS, Simulator
from pnol_jax.errors import InputError
from pnol_jax.training.interrupt import RESUME_ME

WHOLE = 1000  # cases on a grid up to which one process writes no shards


def main(arguments: Sequence[str] | None = None) -> int:
    """Simulate what the command line names and print the config section that reads it."""
    asked = _parser().parse_intermixed_args(arguments)
    path = Path(asked.out or f"data/{asked.problem}")
    _check(asked)
    settings = from_flags(asked)
    schema = SIMULATORS[asked.problem]
    simulator: Any = toml.parse(toml.overridden({}, asked.parameters, schema), schema, asked.problem)
    size = _shard_size(asked, settings, path)
    plan = simulation.make_plan(simulator, asked.problem, asked.cases, asked.points, asked.seed, size)
    console = Console(stderr=True)
    try:
        if size is None:
            simulate(plan, path, asked.allow_failures)
        else:
            sharded.simulate(plan, path, settings, asked.allow_failures)
    except KeyboardInterrupt:
        if size is None:  # nothing is written before all cases are there
            raise
        done, whole = sharded.finished(plan, path), plan.cases * len(plan.points)
        go_on = sharded.AGAIN if done else "the same command again begins"
        console.print(f"{path}: stopped with {done} of {whole} cases; {go_on}", highlight=False, soft_wrap=True)
        return RESUME_ME
    console.print(f"{asked.cases} cases on each grid: {path}", highlight=False)
    print(config_section(simulator, path))
    return 0


def _check(asked: argparse.Namespace) -> None:
    if asked.cases < 1 or min(asked.points) < 2:
        raise InputError(
            f"got {asked.cases} cases on {asked.points} points, expected at least 1 case on at least 2 points"
        )
    if asked.seed < 0:
        raise InputError(f"--seed: got {asked.seed}, expected 0 or more")
    if asked.shard_size is not None and asked.shard_size < 1:
        raise InputError(f"--shard-size: got {asked.shard_size}, expected at least 1")
    if not 0 <= asked.allow_failures < 1:
        raise InputError(f"--allow-failures: got {asked.allow_failures}, expected a share from 0 to below 1")


def _shard_size(asked: argparse.Namespace, settings: PoolConfig, path: Path) -> int | None:
    """Cases in a shard: a hundredth of all, between 10 and 1000, so that it does not hang on the workers."""
    cases: int = asked.cases
    if asked.shard_size:
        return int(asked.shard_size)
    if settings.place == "here" and cases <= WHOLE and not is_in_shards(path):
        return None
    return min(max(math.ceil(cases / 100), 10), 1000)


def simulate(plan: Plan, path: Path, share: float = 0.0) -> None:
    """Write a folder with a group of cases for each number of points, in this process and without shards.

    Raises:
        InputError: a case that cannot be computed and is one too many, by its number; nothing is written then.
    """
    if path.exists():
        refuse_finished(path)
        raise InputError(f"{path}: there is something already, expected a new folder (--out)")
    start = time.monotonic()
    simulator = plan.simulator()
    cases = {points: _compute(plan, simulator, points, int(share * plan.cases)) for points in plan.points}
    names = {points: simulation.group_name(simulator, points) for points in plan.points}
    about = msgspec.to_builtins(plan) | {
        "failed": {names[points]: sum(case.arrays is None for case in group) for points, group in cases.items()},
        "commit": runs.commit(),
        "seconds": round(time.monotonic() - start, 1),
    }
    groups = {names[points]: _arrays(simulator, points, group) for points, group in cases.items()}
    lines = {names[points]: "".join(map(as_line, group)) for points, group in cases.items()}
    arrays.write(path, groups, about, lines)


def _compute(plan: Plan, simulator: Simulator, points: int, allowed: int) -> list[Case]:
    console, title = Console(stderr=True, highlight=False), f"{points} points a side"
    cases: list[Case] = []
    with each_minute(console, lambda: console.print(f"{title}: {len(cases)} of {plan.cases} cases")):
        numbers = track(range(plan.cases), title, console=console, transient=True)
        cases.extend(simulation.compute(simulator, plan.seed, numbers, points, allowed))
    return cases


def _arrays(simulator: Simulator, points: int, cases: Sequence[Case]) -> dict[str, NDArray[Any]]:
    computed = [case.arrays for case in cases if case.arrays is not None]
    group = {name: np.stack([entry[name] for entry in computed]) for name in computed[0]}
    return group | simulation.coordinates(simulator, points, times=group[simulator.outputs[0]].shape[1])


def config_section(simulator: Simulator, path: Path) -> str:
    """The `[data]` section that reads the folder."""
    axes = [
        f'{{ name = "{name}", kind = "{axis.kind}", length = {axis.length} }}'
        for name, axis in zip("xyz", simulator.axes(8), strict=False)
    ]
    lines = [
        "[data]",
        f'train = ["{path}"]',
        f"inputs = {list(simulator.inputs)}".replace("'", '"'),
        f"outputs = {list(simulator.outputs)}".replace("'", '"'),
        f"axes = [{', '.join(axes)}]",
    ]
    return "\n".join(lines + ([f"time_step = {simulator.time_step}"] if simulator.time_step is not None else []))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m experiments.simulate", description=__doc__)
    parser.add_argument("problem", choices=SIMULATORS, help="what is simulated")
    parser.add_argument(
        "parameters", nargs="*", metavar="parameter=value", help="parameters that differ from their defaults"
    )
    parser.add_argument("--cases", type=int, default=100, help="how many (100)")
    parser.add_argument("--points", type=_points, default=[32], metavar="n,n", help="points a side of each grid (32)")
    parser.add_argument("--seed", type=int, default=0, help="of all that is random (0)")
    parser.add_argument("--out", metavar="FOLDER", help="a new folder (data/PROBLEM)")
    parser.add_argument("--shard-size", type=int, metavar="N", help="cases in a shard (a hundredth, 10 to 1000)")
    parser.add_argument(
        "--allow-failures", type=float, default=0.0, metavar="SHARE", help="of cases that may be left out (0)"
    )
    add_flags(parser)
    return parser


def _points(text: str) -> list[int]:
    return [int(n) for n in text.split(",")]


if __name__ == "__main__":
    run(lambda: main(sys.argv[1:]))
