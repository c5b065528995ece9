"""How soon a fleet sees that it is too small, how soon another replica answers, and what two do more than one.

Detection: from the first request of an overload, by callers that each wait for their answer, to the decision for a
second replica, with the default policy and its default intervals; one caller asks before that, from which the fleet
learns what a request takes. Provision: from that decision to the first request that HAProxy counts as answered by the
new replica (asked every 5 ms), once with a cold start and once with a warm spare. The fleet goes back to one replica in
between. Speed-up: two replicas with a core each and one of them behind the same HAProxy, by turns; the load's program
and HAProxy share these cores, so the model is one whose computation takes nearly all of the time. The balancer's own
part is that of `benchmarks.balancer`.
"""

import contextlib
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks import balancer, served_models, servers
from benchmarks.chaos_load import calling
from benchmarks.fleets import Fleet, fleet, until
from benchmarks.load import load
from benchmarks.measure import Ratio, median_interval, paired_ratio
from benchmarks.report import Figure, argument_parser, report
from benchmarks.served_requests import binary_requests
from experiments.command import run
from pnol_jax.ports import free_port
from serving.fleet.balancer import Balancer, BalancerConfig, Server
from serving.fleet.replicas.cores import pinned

HEAVY, CALLERS, CONNECTIONS = "heavy", 16, 4
PATIENCE, LOOK, REST = 60.0, 0.005, 3.0  # seconds; the last until readings say nothing of the overload before
CONFIG = """
name = "bench"
minimum = 1
maximum = 2
[serving]
models = "{models}"
executables = "{executables}"
batch_sizes = [1]
cache_bytes = 0
[balancer]
port = 0
[scaling]
spares = {spares}
"""


@dataclass(frozen=True)
class Growth:
    """Seconds from the overload to the decision, and from that to the new replica's first answer; why it was."""

    detect: float
    provision: float
    reason: str


def main() -> int:
    """Measure all of it."""
    parser = argument_parser(__doc__, rounds=10, burst=2.0)
    parser.add_argument("--overloads", type=int, default=5, help="with a cold start, and with a spare (default 5 each)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fleet-") as name:
        folder = Path(name)
        for model in (HEAVY, balancer.HELD):
            served_models.write(folder / model, [model])
        (folder / "executables").mkdir(mode=0o700)
        cold = growths(folder, 0, options.overloads)
        warm = growths(folder, 1, options.overloads)
        _show({"cold start": cold, "warm spare": warm})
        figures = [
            _median("detect_seconds_p50", [one.detect for one in (*cold, *warm)], 2.0),
            _median("provision_seconds_p50", [one.provision for one in cold], 3.0),
            _median("provision_spare_seconds_p50", [one.provision for one in warm], 0.5),
            *speedup(folder, options.rounds, options.burst),
            *balancer.added(folder, options.rounds, min(1.0, options.burst)),
        ]
    return report(figures, options.json)


def growths(folder: Path, spares: int, overloads: int) -> list[Growth]:
    """What a fleet of one replica does when it is overloaded, again and again."""
    place = folder / f"spares{spares}"
    place.mkdir()
    config = CONFIG.format(models=folder / HEAVY, executables=folder / "executables", spares=spares)
    with fleet(place, config) as made:
        found = list[Growth]()
        for _ in range(2 * overloads):
            if len(found) == overloads:
                break
            made.post("/admin/scale", replicas=1)
            made.settled(1, spares)
            time.sleep(REST)
            made.post("/admin/scale")
            with calling(made.url, served_models.SERVED[HEAVY].bucket, 1):  # from which it learns what a request takes
                time.sleep(REST)
                if made.about()["desired"] == 1:  # else what else the machine does was an overload already
                    found.append(_grow(made))
    return found


def _grow(made: Fleet) -> Growth:
    first = {each["name"] for each in made.serving()}
    before = {name: state.requests for name, state in made.servers().items()}
    decisions = len(made.decisions())

    def answered() -> bool:
        return any(
            state.requests - state.open_requests > before.get(name, 0)
            for name, state in made.servers().items()
            if name not in first
        )

    with calling(made.url, served_models.SERVED[HEAVY].bucket, CALLERS) as callers:
        began = callers.began
        until(answered, PATIENCE, "an answer of a new replica", LOOK)
        answer = time.time()
    [decided] = [line for line in made.decisions()[decisions:] if line["event"] == "scale" and line["desired"] == 2]
    return Growth(decided["time"] - began, answer - decided["time"], decided["why"])


def speedup(folder: Path, rounds: int, burst: float) -> list[Figure]:
    """Rates of two replicas and of one of them."""
    requests, rates = binary_requests(HEAVY, folder), {1: list[float](), 2: list[float]()}
    with contextlib.ExitStack() as stack:
        both = []
        for core in sorted(os.sched_getaffinity(0))[:2]:
            port = free_port()
            with pinned((core,)):
                command = servers.ours(folder / HEAVY, port, "--batch-sizes=[1]", "--cache-bytes=0")
                stack.enter_context(servers.running(command, folder / f"heavy{core}.log"))
            both.append(Server(f"r{core}", "127.0.0.1", port))
        edge = Balancer(BalancerConfig(port=0, slow_start_seconds=0.0), folder / "edge")
        stack.callback(edge.stop, 0)
        edge.start(both)
        for turn in range(rounds + 1):
            for number, tell in ((1, edge.disable), (2, edge.enable)):
                tell(both[1].name)
                rate = load(int(edge.url.rpartition(":")[2]), requests, "float", CONNECTIONS, burst).rate
                if turn:  # the first does not count
                    rates[number].append(rate)
    ratio: Ratio = paired_ratio(np.array(rates[2]), np.array(rates[1]))
    return [
        Figure.of_ratio("two_replica_speedup", ratio, 1.8),
        Figure("one_replica_rate", float(np.median(rates[1])), "requests/s"),
    ]


def _median(name: str, values: Sequence[float], goal: float) -> Figure:
    return Figure(name, float(np.median(values)), "s", goal, less=True, interval=median_interval(values))


def _show(found: dict[str, list[Growth]]) -> None:
    table = Table("second replica by", "detected s", "provided s", "why", title="each overload", title_justify="left")
    for name, growths in found.items():
        for one in growths:
            table.add_row(name, f"{one.detect:.2f}", f"{one.provision:.2f}", one.reason)
    Console().print(table)


if __name__ == "__main__":
    run(main)
