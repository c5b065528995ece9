"""A fleet under load to which something happens every 5 to 15 seconds: what do callers notice, and for how long?

Two replicas get requests and one waits; callers ask by our client, which sends a request again while the service is
unavailable. Done are the faults of `benchmarks.chaos_faults`, in rounds of all in random order.

Lost is a request whose caller got an error. The window of a fault is the time from it to the end of the last request
that failed, or was late already, before the next fault; late is an answer after more than 0.25 s, or three times the
p99 of the time before the first fault, where that is more. Capacity is full while the supervisor answers and two
replicas that are well get requests from HAProxy; a fleet has recovered when it is so again after the last look before
the next fault that found it otherwise. A spare that takes a place makes it full; how soon another spare is ready stands
beside it.
"""

import contextlib
import random
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks import served_models
from benchmarks.chaos_faults import FAULTS, Scene, disk, impossible
from benchmarks.chaos_load import Callers, calling, longest, window
from benchmarks.fleets import Fleet, fleet
from benchmarks.report import Figure, argument_parser, report
from experiments.command import run
from pnol_jax.errors import InputError

MODEL, REPLICAS, SPARES, CALLERS = "small", 2, 1, 3
QUIET, APART = 10.0, (5.0, 15.0)  # seconds before the first fault, and between two
LOOK = 0.05  # seconds between looks at the fleet
CONFIG = """
name = "chaos"
minimum = {replicas}
maximum = {replicas}
[serving]
models = "{models}"
executables = "{executables}"
poll_seconds = 0.5
batch_sizes = [1, 4]
cache_bytes = 0
[balancer]
port = 0
[scaling]
spares = {spares}
policies = [{{ kind = "requests", per_replica = 1e9 }}]
"""


@dataclass(frozen=True)
class Cost:
    """Of a fault, in seconds; None: never."""

    name: str
    window: float
    longest: float
    recovery: float | None
    spares: float | None


@dataclass
class Looks:
    """When capacity was full, and when spares were ready too."""

    fleet: Fleet
    scene: Scene
    seen: list[tuple[float, bool, bool]] = field(default_factory=list)

    def look(self) -> None:
        """Look once."""
        now = time.monotonic()
        servers = self.fleet.servers()
        try:
            replicas = [each for each in self.fleet.about()["replicas"] if each["phase"] == "ready"]
        except (httpx.HTTPError, ValueError):
            replicas = []
        well = [each for each in replicas if not each["ill"] and each["name"] not in self.scene.hurt]
        names = {name for name, server in servers.items() if server.up and server.admin == "ready"}
        full = sum(each["serving"] and each["name"] in names for each in well) >= REPLICAS
        self.seen.append((now, full, full and len(well) >= REPLICAS + SPARES))

    def settled(self, fault: float, end: float, what: int) -> float | None:
        """Seconds from a fault until it is so again after what the fault did; `what`: 1 full, 2 with spares."""
        looks = [look for look in self.seen if fault <= look[0] < end]
        missing = [look[0] for look in looks if not look[what]]
        if not looks:
            return None  # nobody knows
        if not missing:
            return 0.0
        again = [look[0] for look in self.seen if look[0] > missing[-1] and look[what]]
        return again[0] - fault if again else None


def main() -> int:
    """Do it, and say what each fault cost."""
    parser = argument_parser(__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long (default 10)")
    parser.add_argument("--seed", type=int, default=0, help="of what happens when")
    parser.add_argument("--only", nargs="*", default=list(FAULTS), choices=list(FAULTS), help="these faults alone")
    asked = parser.parse_args()
    lacking = impossible()
    for name in sorted(lacking.keys() & set(asked.only)):
        print(f"left out: {name}: {lacking[name]}")
    names = [name for name in asked.only if name not in lacking]
    if not names:
        raise InputError(f"--only: got {asked.only}, expected some that this machine can do")
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        callers, costs = ordeal(Path(folder), names, asked.minutes, asked.seed)
    show(costs, callers)
    return report(figures(costs, callers), asked.json)


def ordeal(folder: Path, names: Sequence[str], minutes: float, seed: int) -> tuple[Callers, list[Cost]]:
    """A fleet, callers, and faults of these names one after the other."""
    models, executables = folder / "models", folder / "executables"
    executables.mkdir(mode=0o700)
    served_models.write(models, [MODEL])
    config = CONFIG.format(models=models, executables=executables, replicas=REPLICAS, spares=SPARES)
    place = disk(folder) if "slow disk" in names else contextlib.nullcontext(folder)
    with place as state, fleet(folder, config, state / "fleet") as made:
        made.settled(REPLICAS, SPARES)
        scene = Scene(made, models, MODEL, random.Random(seed))
        points = served_models.SERVED[MODEL].bucket
        with calling(made.url, points, CALLERS) as callers, looking(Looks(made, scene)) as looks:
            time.sleep(QUIET)
            late = callers.late_from()
            moments = happen(scene, names, minutes)
    ends = [moment for _, moment in moments[1:]]
    costs = [
        Cost(
            name,
            window(callers.calls, moment, end, late),
            longest(callers.calls, moment, end),
            looks.settled(moment, end, 1),
            looks.settled(moment, end, 2),
        )
        for (name, moment), end in zip(moments[:-1], ends, strict=True)
    ]
    return callers, costs


def happen(scene: Scene, names: Sequence[str], minutes: float) -> list[tuple[str, float]]:
    """What happened when, on the monotonic clock; the last entry is the end."""
    end, moments, left = time.monotonic() + 60 * minutes, list[tuple[str, float]](), list[str]()
    while time.monotonic() < end:
        if not left:
            left = scene.dice.sample(list(names), len(names))
        name, moment = left.pop(), time.monotonic()
        moments.append((name, moment))
        print(f"{time.strftime('%H:%M:%S')} {name}", flush=True)
        pause = scene.dice.uniform(*APART)
        with FAULTS[name](scene):
            time.sleep(max(0.0, moment + pause - time.monotonic()))
    return [*moments, ("", time.monotonic())]


@contextlib.contextmanager
def looking(looks: Looks) -> Iterator[Looks]:
    """Look while the block runs."""
    over = threading.Event()

    def run() -> None:
        while not over.wait(LOOK):
            looks.look()

    with ThreadPoolExecutor(1) as pool:
        looked = pool.submit(run)
        try:
            yield looks
        finally:
            over.set()
        looked.result()  # or what ended it


def figures(costs: Sequence[Cost], callers: Callers) -> list[Figure]:
    """What it comes to. Of a fleet that never recovered: not a number, which keeps no bound."""
    windows = [cost.window for cost in costs]
    return [
        Figure("lost_requests", float(len(callers.lost())), f"of {len(callers.calls)}", 0, at_most=0),
        Figure("error_window_seconds_p99", _quantile(windows, 0.99), "s", 1.0, less=True),
        Figure("error_window_seconds_p50", _quantile(windows, 0.5), "s", 1.0, less=True),
        Figure("recovery_seconds_p99", _quantile([cost.recovery for cost in costs], 0.99), "s", 5.0, at_most=60.0),
        Figure("spares_back_seconds_p99", _quantile([cost.spares for cost in costs], 0.99), "s", 30.0, less=True),
        Figure("faults", float(len(costs)), "faults"),
    ]


def _quantile(values: Sequence[float | None], share: float) -> float:
    return float(np.quantile([float("nan") if value is None else value for value in values], share))


def show(costs: Sequence[Cost], callers: Callers) -> None:
    """One line for each kind of fault, and what callers saw."""
    titles = ("fault", "times", "window", "worst", "longest call", "recovery", "worst", "spare")
    table = Table(*titles, title=f"{len(costs)} faults; seconds, medians but for the worst", title_justify="left")
    for name in dict.fromkeys(cost.name for cost in costs):
        own = [cost for cost in costs if cost.name == name]
        columns = (
            np.median([cost.window for cost in own]),
            max(cost.window for cost in own),
            max(cost.longest for cost in own),
            _quantile([cost.recovery for cost in own], 0.5),
            _quantile([cost.recovery for cost in own], 1.0),
            _quantile([cost.spares for cost in own], 0.5),
        )
        table.add_row(name, str(len(own)), *(f"{value:.2f}" for value in columns))
    console = Console()
    console.print(table)
    for error, count in callers.errors().most_common():
        console.print(f"{count} times: {error}")


if __name__ == "__main__":
    run(main)
