"""What every benchmark hands over: one table for people, one JSON file for programs, and an exit status.

The file: {"figures": {NAME: {"value", "unit", "goal"?, "met"?, "at_least"?, "at_most"?, "interval"?}}, "seconds":
{TITLE: {"sides": {SIDE: {"median", "quartiles", "rounds"}}}}, "date", "commit", "machine": {...}, "versions": {...}}.
Absent bounds are left out. `benchmarks.results` makes one page of many such files.
"""

import argparse
import json
import os
import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Column, Table

from benchmarks.measure import Ratio, Timings
from experiments.runs import commit
from pnol_jax.files import write_atomically

_PACKAGES = ("pnol-jax", "jax", "jaxlib", "numpy", "flax", "optax", "litestar", "uvicorn")


@dataclass(frozen=True)
class Figure:
    """A number, what was hoped for, and what is required of it. `interval` is 95%.

    A goal is met by what is not under it; with `less` or an `at_most`, by what is not over it; with bounds on both
    sides, between them.
    """

    name: str
    value: float
    unit: str
    goal: float | None = None  # none: of a figure that others are read by
    at_least: float | None = None
    at_most: float | None = None
    interval: tuple[float, float] | None = None
    less: bool = False

    @classmethod
    def of_ratio(cls, name: str, ratio: Ratio, goal: float | None = None, less: bool = False) -> "Figure":
        """A ratio of times with its interval."""
        return cls(name, ratio.value, "ratio", goal, interval=(ratio.low, ratio.high), less=less)

    @property
    def holds(self) -> bool:
        """Whether the value keeps its bounds. What is not a number keeps none."""
        least = self.at_least is None or self.value >= self.at_least
        most = self.at_most is None or self.value <= self.at_most
        return self.value == self.value and least and most

    @property
    def met(self) -> bool | None:
        """Whether the goal is; None without one."""
        if self.goal is None:
            return None
        if self.at_least is not None and self.at_most is not None:
            return self.holds
        less = self.less or self.at_most is not None
        return self.value <= self.goal if less else self.value >= self.goal

    def fields(self) -> dict[str, Any]:
        """As it stands in the file."""
        optional = {"goal": self.goal, "met": self.met, "at_least": self.at_least, "at_most": self.at_most}
        optional["interval"] = self.interval
        present = {name: value for name, value in optional.items() if value is not None}
        return {"value": self.value, "unit": self.unit, **present}


def argument_parser(
    description: str | None, rounds: int | None = None, burst: float | None = None
) -> argparse.ArgumentParser:
    """The arguments of a benchmark: where the JSON goes, and how long it measures where it has turns."""
    parser = argparse.ArgumentParser(description=(description or "").strip().split("\n\n")[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write figures, machine and versions here")
    if rounds is not None:
        parser.add_argument("--rounds", type=int, default=rounds, help=f"turns of each side (default {rounds})")
    if burst is not None:
        parser.add_argument("--burst", type=float, default=burst, help=f"seconds of a turn, about (default {burst})")
    return parser


def report(
    figures: Iterable[Figure],
    json_file: Path | None,
    timings: Mapping[str, Timings] | None = None,
    versions: Mapping[str, str] | None = None,
) -> int:
    """Print the tables, write the file if one was asked for, and return 0, or 1 if a figure breaks a bound.

    Args:
        figures: what the benchmark is for
        json_file: where the JSON goes; None for nowhere
        timings: the measurements behind them, by title
        versions: of peers, beside this environment's own
    """
    figures, timings = list(figures), dict(timings or {})
    console = Console()
    for title, measured in timings.items():
        console.print(_seconds_table(title, measured))
    console.print(_figures_table(figures))
    if json_file is not None:
        content = {
            "figures": {figure.name: figure.fields() for figure in figures},
            "seconds": {title: _seconds(measured) for title, measured in timings.items()},
            "date": datetime.now(UTC).date().isoformat(),
            "commit": commit(),
            "machine": machine(),
            "versions": {**_versions(), **(versions or {})},
        }
        write_atomically(json_file, json.dumps(content, indent=2) + "\n")
    return 0 if all(figure.holds for figure in figures) else 1


def machine() -> dict[str, Any]:
    """Processor, cores, memory in GiB, and how busy the machine was."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": platform.platform(),
        "load_1min": round(os.getloadavg()[0], 2),
    }


def _processor() -> str:
    """Its model, which /proc tells on Linux and `platform` elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _seconds(timings: Timings) -> dict[str, Any]:
    sides = {
        name: {"median": timings.median(name), "quartiles": timings.quartiles(name), "rounds": values.tolist()}
        for name, values in timings.seconds.items()
    }
    return {"sides": sides} | ({} if timings.resting is None else {"resting": timings.resting})


def _seconds_table(title: str, timings: Timings) -> Table:
    table = Table("side", "median ms", "quartiles ms", title=title, title_justify="left")
    for name in timings.seconds:
        low, high = (f"{1e3 * bound:.2f}" for bound in timings.quartiles(name))
        table.add_row(name, f"{1e3 * timings.median(name):.2f}", f"{low} to {high}")
    rested = "" if timings.resting is None else f"; a resting side took {timings.resting:.1%} of a core"
    table.caption = f"{timings.rounds} rounds{rested}"
    return table


def _figures_table(figures: Iterable[Figure]) -> Table:
    table = Table(Column("figure", overflow="fold"), "value", "95% interval", "goal", "required", "")
    for figure in figures:
        interval = "" if figure.interval is None else " to ".join(f"{bound:.4g}" for bound in figure.interval)
        goal = "" if figure.goal is None else f"{figure.goal:.4g}, {'met' if figure.met else '[yellow]missed'}"
        value, bounds = f"{figure.value:.4g} {figure.unit}", _bounds(figure)
        verdict = ("[green]holds" if bounds else "") if figure.holds else "[red]broken"
        table.add_row(figure.name, value, interval, goal, bounds, verdict)
    return table


def _bounds(figure: Figure) -> str:
    least = "" if figure.at_least is None else f"at least {figure.at_least:.4g}"
    most = "" if figure.at_most is None else f"at most {figure.at_most:.4g}"
    return ", ".join(bound for bound in (least, most) if bound)
