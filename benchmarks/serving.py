"""Our service beside Triton, LitServe and FastAPI: the same program (HLO), the same machine, in turns.

Models: "small" (FNO, width 16, 8 modes, 32x32), "medium" (width 32, 12 modes, 64x64), "mixed" (medium, asked on eight
grids from 30 to 64 points a side, which share batches), "identity" (16 KiB there and back: what the wire costs) and
"cached" (the identity asked the same again and again, of servers that keep answers). But for the last no request is
like another. Ours and Triton are asked by the same bytes of the Open Inference Protocol; LitServe and FastAPI in JSON,
as their documentation has it. wrk asks, with 1 to 64 connections, each of which waits for its answer. Triton stands
here twice: by its Python binding (PyTriton), and as the server with its Python backend; both compute in JAX 0.7, since
PyTriton allows no later one.
"""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks import served_models, servers
from benchmarks.child import Child
from benchmarks.load import Kind, Load, load
from benchmarks.measure import paired_ratio
from benchmarks.report import Figure, argument_parser, report
from benchmarks.served_hlo import write_hlo
from benchmarks.served_requests import binary_requests, json_requests
from experiments.command import run
from pnol_jax.ports import free_port

CONNECTIONS = (1, 8, 32, 64)
SIZES = (1, 2, 4, 8, 16)
MODELS = ("small", "medium", "mixed", "identity", "cached")
WIRE = {"identity": "transport_vs_triton", "cached": "cache_hit_vs_triton"}
PEERS = (*servers.TRITON, "litserve", "fastapi")


@dataclass
class Asked:
    """A server and how it is asked; what came of it by number of connections, one `Load` a round."""

    name: str
    port: int
    requests: Sequence[Path]
    kind: Kind
    found: dict[int, list[Load]] = field(default_factory=dict)

    def ask(self, connections: int, seconds: float) -> None:
        """One turn."""
        self.found.setdefault(connections, []).append(load(self.port, self.requests, self.kind, connections, seconds))

    def rates(self, connections: int) -> NDArray[np.float64]:
        """Requests a second in each round."""
        return np.asarray([found.rate for found in self.found[connections]])

    def best_rates(self) -> NDArray[np.float64]:
        """The same at whichever number of connections gave most."""
        return np.max([self.rates(number) for number in self.found], axis=0)

    def median(self, connections: int, what: str) -> float:
        """Of a field of `Load`."""
        return float(np.median([getattr(found, what) for found in self.found[connections]]))


def main() -> int:
    """Measure, and say what came of it."""
    parser = argument_parser(__doc__, rounds=5, burst=3.0)
    parser.add_argument("--models", nargs="*", default=list(MODELS))
    parser.add_argument("--peers", nargs="*", default=list(PEERS))
    parser.add_argument("--connections", nargs="*", type=int, default=list(CONNECTIONS))
    cores = len(os.sched_getaffinity(0))
    parser.add_argument("--flags", nargs="*", default=[f"--workers={cores}"], help="of our service")
    asked = parser.parse_args()
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as folder:
        for model in asked.models:
            figures += measured(model, Path(folder), asked.peers, asked.connections, asked)
    return report([*worst(figures), *figures], asked.json)


def measured(model: str, folder: Path, peers: Sequence[str], connections: Sequence[int], asked: object) -> list[Figure]:
    """The figures of a model."""
    rounds, burst, flags = (getattr(asked, name) for name in ("rounds", "burst", "flags"))
    program = folder / f"{model}-hlo"
    write_hlo(model, program, SIZES)
    with contextlib.ExitStack() as stack:
        sides = [stack.enter_context(ours(model, folder, flags))]
        sides += [stack.enter_context(peer(name, model, folder)) for name in peers if _possible(name, model)]
        raw = stack.enter_context(Child([sys.executable, "-m", "benchmarks.raw_engine", program]))
        seconds: dict[int, list[float]] = {size: [] for size in SIZES}
        for _ in range(rounds):
            for size in SIZES:
                raw.run(str(size), 3)
                seconds[size].append(raw.run(str(size), 20))
            for number in connections:
                for side in sides:
                    side.ask(number, burst)
    Console().print(table(model, sides, connections))
    return [*compared(model, sides, connections), *alone(model, sides[0], connections, seconds)]


def _possible(peer: str, model: str) -> bool:
    """Others serve one grid; and what JSON costs is not what the identity is for."""
    return model != "mixed" and (model not in WIRE or peer in servers.TRITON)


@contextlib.contextmanager
def ours(model: str, folder: Path, flags: Sequence[str]) -> Iterator[Asked]:
    """Our service; without its cache where no request is like another."""
    models, port = folder / f"{model}-models", free_port()
    served_models.write(models, [model])
    cache: list[str] = [] if model == "cached" else ["--cache-bytes", "0"]
    command = servers.ours(models, port, "--batch-sizes", str(list(SIZES)), *cache, *flags)
    with servers.running(command, folder / f"{model}-ours.log"):
        yield Asked("ours", port, binary_requests(model, folder), kind(model))


@contextlib.contextmanager
def peer(name: str, model: str, folder: Path) -> Iterator[Asked]:
    """A peer with the same program."""
    port = free_port(3)
    command = servers.peer(name, folder / f"{model}-hlo", model, port, *(["--cache"] if model == "cached" else []))
    with servers.running(command, folder / f"{model}-{name}.log", servers.ENVIRONMENT):
        if name in servers.TRITON:
            yield Asked(name, port, binary_requests(model, folder), kind(model))
        else:
            yield Asked(name, port, json_requests(model, folder), "text")


def kind(model: str) -> Kind:
    """How its requests in binary differ."""
    return "same" if model == "cached" else "float"


def compared(model: str, sides: Sequence[Asked], connections: Sequence[int]) -> list[Figure]:
    """Our requests a second over each peer's."""
    mine = sides[0]
    found = []
    for side in sides[1:]:
        if model in WIRE:
            ratio = paired_ratio(mine.best_rates(), side.best_rates())
            found.append(Figure.of_ratio(WIRE[model].replace("triton", side.name), ratio, 1.0))
        for number in connections:
            ratio = paired_ratio(mine.rates(number), side.rates(number))
            found.append(Figure.of_ratio(f"vs_{side.name}_c{number}_{model}", ratio, 1.0 if model in WIRE else 1.5))
    return found


def alone(model: str, mine: Asked, connections: Sequence[int], seconds: dict[int, list[float]]) -> list[Figure]:
    """Ours against the compiled program by itself, and its own tail."""
    most, single = max(connections), 1e3 * float(np.median(seconds[1]))
    best = np.max([size / np.asarray(taken) for size, taken in seconds.items()], axis=0)
    tail = mine.median(most, "p99_ms") / mine.median(most, "p50_ms")
    found = [Figure(f"requests_per_second_c{most}_{model}", mine.median(most, "rate"), "1/s", 1000)]
    found.append(Figure(f"p99_over_p50_c{most}_{model}", tail, "ratio", 2.5, less=True))
    if model == "mixed":
        calls = paired_ratio(mine.rates(most), 1 / np.asarray(seconds[1]))
        return [*found, Figure.of_ratio("mixed_vs_padded_calls", calls, 2.0)]
    if model not in WIRE:
        found.append(Figure.of_ratio(f"engine_efficiency_{model}", paired_ratio(mine.rates(most), best), 0.9))
    if 1 in connections:
        found.append(Figure(f"overhead_ms_p50_{model}", mine.median(1, "p50_ms") - single, "ms", 0.35, less=True))
    return found


def worst(figures: Sequence[Figure]) -> list[Figure]:
    """The headline: of small and medium the worse."""
    found = []
    for name in (*(f"vs_triton_c{number}" for number in CONNECTIONS), "engine_efficiency"):
        mine = [figure for figure in figures if figure.name in (f"{name}_small", f"{name}_medium")]
        if mine:
            least = min(mine, key=lambda figure: figure.value)
            found.append(Figure(name, least.value, least.unit, least.goal, interval=least.interval))
    return found


def table(model: str, sides: Sequence[Asked], connections: Sequence[int]) -> Table:
    """Requests a second and latencies of each side."""
    made = Table("server", *(f"{number} connections: 1/s; p50; p99 ms" for number in connections), title=model)
    for side in sides:
        found = [[side.median(number, what) for what in ("rate", "p50_ms", "p99_ms")] for number in connections]
        made.add_row(side.name, *(f"{rate:.0f}; {middle:.2f}; {tail:.2f}" for rate, middle, tail in found))
    return made


if __name__ == "__main__":
    run(main)
