"""HAProxy before replicas: what going through it adds, how soon another stands in its place, and what its methods hit.

Time: one connection asks a replica for an answer that it holds, by turns directly and through HAProxy; figures are
differences of quantiles within a round. Death: from SIGKILL to the first answer of the next HAProxy. Hits: two replicas
whose caches hold a fifth of the objects each, asked by Zipf's law, anew for each method.
"""

import contextlib
import http.client
import io
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks import served_models, servers
from benchmarks.load import Load, load
from benchmarks.measure import median_interval
from benchmarks.report import Figure, argument_parser, report
from benchmarks.served_requests import binary_requests
from experiments.command import run
from pnol_jax.ports import free_port
from serving.fleet.balancer import Balancer, BalancerConfig, Server
from serving.fleet.balancer.config import Method
from serving.wire import npy

HELD, COMPUTED = "cached", "small"
METHODS: tuple[Method, ...] = ("cache", "round_robin", "least_connections")
OBJECTS, EXPONENT, CLIENTS = 2_000, 0.9, 4
ENTRY = 20 * 2**10  # bytes that an answer takes of the cache, about: three fields of 32x32, and the response
DEATHS = 10


@dataclass(frozen=True)
class Hits:
    """Of a method: the share of requests whose answer was held, and of those that went to the busier replica."""

    ratio: float
    busier: float


def main() -> int:
    """Measure all of it."""
    parser = argument_parser(__doc__, rounds=10, burst=1.0)
    parser.add_argument("--requests", type=int, default=8_000, help="of each method (default 8000)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="balancer-") as folder:
        for name in (HELD, COMPUTED):
            served_models.write(Path(folder) / name, [name])
        figures = added(Path(folder), options.rounds, options.burst)
        figures += hits(Path(folder), options.requests)
    return report(figures, options.json)


def added(folder: Path, rounds: int, burst: float) -> list[Figure]:
    """What going through HAProxy adds, and what its death costs."""
    requests, direct, through = binary_requests(HELD, folder), list[Load](), list[Load]()
    with replicas(folder, HELD, 1) as [server], balancing(folder, "least_connections", [server]) as balancer:
        sides = ((direct, server.port), (through, _port(balancer)))
        for turn in range(rounds + 1):
            for found, port in sides:
                one = load(port, requests, "same", 1, burst)
                if turn:  # the first does not count
                    found.append(one)
        deaths = [_death(balancer, server) for _ in range(DEATHS)]
    _show(direct, through)
    return [
        _difference("balancer_ms_p50", [(a.p50_ms, b.p50_ms) for a, b in zip(direct, through, strict=True)], 0.2),
        _difference("balancer_ms_p99", [(a.p99_ms, b.p99_ms) for a, b in zip(direct, through, strict=True)], 1.0),
        Figure("balancer_restart_ms_p50", float(np.median(deaths)), "ms", 50.0, less=True),
    ]


def hits(folder: Path, number: int) -> list[Figure]:
    """The same requests by each method."""
    generator = np.random.default_rng(0)
    chances = 1 / np.arange(1, OBJECTS + 1) ** EXPONENT
    asked = generator.choice(OBJECTS, number, p=chances / chances.sum())
    points = served_models.SERVED[COMPUTED].bucket
    fields = generator.standard_normal((OBJECTS, points, points, 1)).astype(np.float32)
    found = {method: _hits(folder, method, asked, fields) for method in METHODS}
    first = len(set(asked.tolist())) / number
    figures = [Figure(f"cache_locality_busier_{METHODS[0]}", found[METHODS[0]].busier, "share", 0.5, less=True)]
    for method, one in found.items():
        name = "cache_locality_hit_ratio" + ("" if method == METHODS[0] else f"_{method}")
        figures.append(Figure(name, one.ratio, "share", 1 - first))  # what is asked first can be held by nobody
    return figures


def _hits(folder: Path, method: Method, asked: NDArray[np.int64], fields: NDArray[np.float32]) -> Hits:
    room = OBJECTS // 5 * ENTRY
    with replicas(folder, COMPUTED, 2, f"--cache-bytes={room}") as both, balancing(folder, method, both) as balancer:
        turns = [asked[start : start + CLIENTS] for start in range(0, len(asked), CLIENTS)]
        with ThreadPoolExecutor(CLIENTS) as pool:
            clients = [http.client.HTTPConnection("127.0.0.1", _port(balancer)) for _ in range(CLIENTS)]
            for turn in turns:  # so many at once
                list(pool.map(_ask, clients, [fields[number] for number in turn]))
        counts = [httpx.get(f"http://{server.address}/stats").json()["cache"] for server in both]
    held = [one["hits"] + one["joined"] for one in counts]
    answered = [one + count["misses"] + count["skipped"] for one, count in zip(held, counts, strict=True)]
    return Hits(sum(held) / sum(answered), max(answered) / sum(answered))


def _ask(client: http.client.HTTPConnection, field: NDArray[np.float32]) -> None:
    body = io.BytesIO()
    np.save(body, field)
    client.request("POST", "/predict", body.getvalue(), {"content-type": npy.MEDIA_TYPE, "accept": npy.MEDIA_TYPE})
    answer = client.getresponse()
    said = answer.read()
    if answer.status != 200:
        raise RuntimeError(f"got {answer.status}: {said[:200]!r}")


def _death(balancer: Balancer, server: Server) -> float:
    """Milliseconds from SIGKILL to the first answer, by a supervisor that sees it at once."""
    assert balancer.identity is not None
    started = time.perf_counter()
    balancer.identity.signal(signal.SIGKILL)
    balancer.identity.wait(1.0)
    balancer.start([server])
    client = http.client.HTTPConnection("127.0.0.1", _port(balancer))
    client.request("GET", "/health/ready")
    if client.getresponse().status != 200:
        raise RuntimeError("the next HAProxy has no replica")
    return 1000 * (time.perf_counter() - started)


@contextlib.contextmanager
def replicas(folder: Path, model: str, number: int, *flags: str) -> Iterator[list[Server]]:
    """So many of our servers with a model."""
    with contextlib.ExitStack() as stack:
        found = []
        for index in range(number):
            port = free_port()
            command = servers.ours(folder / model, port, "--batch-sizes=[1, 2, 4]", *flags)
            stack.enter_context(servers.running(command, folder / f"{model}-{index}.log"))
            found.append(Server(f"replica-{index}", "127.0.0.1", port))
        yield found


@contextlib.contextmanager
def balancing(folder: Path, method: Method, before: Sequence[Server]) -> Iterator[Balancer]:
    """HAProxy before them."""
    balancer = Balancer(BalancerConfig(port=0, method=method), folder / "fleet")
    balancer.start(before)
    try:
        yield balancer
    finally:
        balancer.stop(0)


def _difference(name: str, pairs: Sequence[tuple[float, float]], goal: float) -> Figure:
    """The median over rounds of what is added, with a percentile bootstrap over them."""
    more = [through - direct for direct, through in pairs]
    return Figure(name, float(np.median(more)), "ms", goal, less=True, interval=median_interval(more))


def _show(direct: Sequence[Load], through: Sequence[Load]) -> None:
    table = Table("side", "requests/s", "p50 ms", "p99 ms", title="an answer that is held, one connection, medians")
    for name, side in (("direct", direct), ("through HAProxy", through)):
        medians = [float(np.median([getattr(one, what) for one in side])) for what in ("rate", "p50_ms", "p99_ms")]
        table.add_row(name, f"{medians[0]:.0f}", *(f"{value:.3f}" for value in medians[1:]))
    Console().print(table)


def _port(balancer: Balancer) -> int:
    return int(balancer.url.rpartition(":")[2])


if __name__ == "__main__":
    run(main)
