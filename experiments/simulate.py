"""Simulate solved cases: `python -m experiments.simulate PROBLEM --cases N --points n,n [parameter=value ...]`.

Writes a folder of memory-mapped arrays, a group for each grid, with everything that made them in about.json. Case i
depends on the seed and i alone: neither on how many cases are asked nor on the grids.
"""

import argparse
import importlib.metadata
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

from experiments import runs
from experiments.command import run
from pnol_jax import toml
from pnol_jax.data import arrays
from pnol_jax.data.simulators import SIMULATORS, Simulator
from pnol_jax.errors import InputError


def main(arguments: Sequence[str] | None = None) -> int:
    """Simulate what the command line names and print the config section that reads it."""
    asked = _parser().parse_intermixed_args(arguments)
    path = Path(asked.out or f"data/{asked.problem}")
    if path.exists():
        raise InputError(f"{path}: there is something already, expected a new folder (--out)")
    if asked.cases < 1 or min(asked.points) < 2:
        raise InputError(
            f"got {asked.cases} cases on {asked.points} points, expected at least 1 case on at least 2 points"
        )
    simulator: Any = toml.parse(toml.overridden({}, asked.parameters), SIMULATORS[asked.problem], asked.problem)
    simulate(simulator, asked.problem, path, asked.cases, asked.points, asked.seed)
    Console(stderr=True).print(f"{asked.cases} cases on each grid: {path}", highlight=False)
    print(config_section(simulator, path))
    return 0


def simulate(simulator: Simulator, problem: str, path: Path, cases: int, points: Sequence[int], seed: int) -> None:
    """Write a folder with a group of cases for each number of points.

    Raises:
        InputError: a case that cannot be computed, by its number; nothing is written then.
    """
    start = time.monotonic()
    groups = {"x".join([str(n)] * simulator.ndim): _group(simulator, cases, n, seed) for n in dict.fromkeys(points)}
    about = {
        "problem": problem,
        "parameters": msgspec.to_builtins(simulator),
        "cases": cases,
        "points": list(points),
        "seed": seed,
        "commit": runs.commit(),
        "versions": {name: importlib.metadata.version(name) for name in ("jax", "numpy", "scipy", "exponax")},
        "seconds": round(time.monotonic() - start, 1),
    }
    arrays.write(path, groups, about)


def _group(simulator: Simulator, cases: int, points: int, seed: int) -> dict[str, NDArray[Any]]:
    console = Console(stderr=True)
    computed = []
    for case in track(range(cases), f"{points} points a side", console=console, transient=True):
        try:
            computed.append(simulator.case(np.random.default_rng([seed, case]), points))
        except InputError as error:
            raise InputError(f"case {case}: {error}") from None
    group: dict[str, NDArray[Any]] = {
        name: np.stack([entry[name] for entry in computed]).astype(np.float32) for name in computed[0]
    }
    group.update({name: axis.points for name, axis in zip("xyz", simulator.axes(points), strict=False)})
    if simulator.time_step is not None:
        times = next(iter(computed[0].values())).shape[0]
        group["t"] = simulator.time_step * np.arange(times)
    return group


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
    return parser


def _points(text: str) -> list[int]:
    return [int(n) for n in text.split(",")]


if __name__ == "__main__":
    run(lambda: main(sys.argv[1:]))
