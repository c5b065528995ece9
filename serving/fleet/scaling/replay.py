"""`python -m serving.fleet replay TRACE --config fleet.toml`: a policy in simulated time, before it is used.

TRACE is a CSV or JSONL file with `time` and `requests_per_second`, or one of day, ramp, spike, step and burst.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from pnol_jax import toml
from pnol_jax.errors import InputError
from serving.fleet.config import FleetConfig, read_fleet
from serving.fleet.scaling.picture import draw
from serving.fleet.scaling.scaler import Scaler
from serving.fleet.scaling.simulation import Outcome, replay
from serving.fleet.scaling.traces import MADE, Trace, read_trace
from serving.fleet.scaling.world import World

INITIAL_UTILISATION = 0.7  # of the replicas that a replay begins with
COLUMNS = ("config", "late", "share", "p50 s", "p99 s", "replica-hours", "most", "changes")


def main(arguments: Sequence[str]) -> int:
    """Play a trace through the policies of one or more configs and print what became of it; 2 if one is wrong."""
    options = _parser().parse_args(arguments)
    try:
        trace = made(options.trace, options.peak, options.seed)
        world = _world(options)
        paths = options.config or [None]
        outcomes = [(str(path or "defaults"), _play(trace, path, options, world)) for path in paths]
        if options.out is not None:
            draw(options.out, outcomes)
    except InputError as error:
        print(f"replay: {error}", file=sys.stderr)
        return 2
    print(f"{trace.name}: {len(outcomes[0][1].responses)} requests in {trace.end / 3600:.3g} h; late: {_late(world)}")
    print(_assumed(world))
    print(_table([_row(title, outcome) for title, outcome in outcomes]))
    return 0


def made(name: str, peak: float, seed: int) -> Trace:
    """A made trace by its name, or a recorded one by its path.

    Raises:
        InputError: neither is there.
    """
    return MADE[name](peak, seed) if name in MADE else read_trace(Path(name))


def _play(trace: Trace, path: Path | None, options: argparse.Namespace, world: World) -> Outcome:
    overrides = tuple(options.set)
    fleet = (
        read_fleet(path, overrides)
        if path
        else toml.parse(toml.overridden({}, overrides, FleetConfig), FleetConfig, "config")
    )
    maximum = fleet.most()
    needed = math.ceil(trace.rates[0] * world.service_seconds / INITIAL_UTILISATION)
    scaler = Scaler(fleet.scaling, fleet.minimum, maximum)
    if options.read_seconds is None:
        world = msgspec.structs.replace(world, read_seconds=fleet.scaling.interval_seconds)
    return replay(trace, scaler.decide, world, min(max(needed, fleet.minimum), maximum), options.seed)


def _world(options: argparse.Namespace) -> World:
    given: dict[str, Any] = {
        name: value for name in World.__struct_fields__ if (value := getattr(options, name)) is not None
    }
    return toml.parse(given, World, "options")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m serving.fleet replay", description=(__doc__ or "").split("\n\n")[1]
    )
    parser.add_argument("trace", metavar="TRACE")
    parser.add_argument(
        "--config", type=Path, action="append", metavar="FILE", help="fleet.toml; several: side by side"
    )
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="lies over the configs")
    parser.add_argument("--out", type=Path, metavar="FILE", help="a picture, .svg or .html")
    parser.add_argument("--peak", type=float, default=20.0, help="requests a second of a made trace (default 20)")
    parser.add_argument("--seed", type=int, default=0, help="of the trace, arrivals and service times (default 0)")
    for field in msgspec.structs.fields(World):
        said = msgspec.inspect.type_info(field.type)
        text = getattr(said, "extra_json_schema", None) or {}
        kind = int if isinstance(field.default, int) else float
        flag = f"--{field.name.replace('_', '-')}"
        parser.add_argument(flag, type=kind, help=f"{text.get('description', '')} (default {field.default})")
    return parser


def _late(world: World) -> str:
    return f"more than {world.objective_seconds:g} s"


def _assumed(world: World) -> str:
    """What the figures rest on, for people who have not said it."""
    return (
        f"assumed: requests of {world.service_seconds:g} s (--service-seconds), {world.batch} at a time; "
        f"replicas ready after {world.start_seconds:g} s, spares after {world.warm_seconds:g} s"
    )


def _row(title: str, outcome: Outcome) -> tuple[str, ...]:
    most = max(moment.ready for moment in outcome.line)
    times = (_seconds(outcome.quantile(level)) for level in (0.5, 0.99))
    counted = (f"{outcome.replica_hours:.3f}", str(most), str(outcome.changes))
    return title, str(outcome.violations), f"{outcome.share:.4%}", *times, *counted


def _seconds(value: float) -> str:
    return "unanswered" if math.isinf(value) else f"{value:.3g}"


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(COLUMNS, *rows, strict=True)]
    lines = [[each.ljust(width) for each, width in zip(row, widths, strict=True)] for row in (COLUMNS, *rows)]
    return "\n".join("  ".join(line).rstrip() for line in lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
