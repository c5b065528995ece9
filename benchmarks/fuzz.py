"""Nearly right requests of every format, for minutes: no fault of the server, no growth, and the right ones stay right.

The application is asked in this process and a server in another, in turns, with what `fuzz_bodies` makes of a model
whose mean is its input; every twentieth request is right, and its answer is compared. Statuses of 500 and more count
as faults, but for 503 and for 504, which a request that sets itself a tiny deadline gets.
"""

import io
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import psutil

from benchmarks import served_models, servers
from benchmarks.fuzz_bodies import FORMATS, wrong
from benchmarks.fuzz_named import MARCHING
from benchmarks.fuzz_sent import Field, Sent
from benchmarks.fuzz_targets import Target, in_process, over_the_network
from benchmarks.fuzz_trees import Rng
from benchmarks.report import Figure, argument_parser, report
from experiments.command import run
from pnol_jax.ports import free_port
from serving.settings import read_settings
from serving.wire import inference_pb2 as pb

MODEL, EVERY, BURST, KEPT = "identity", 20, 200, 20
FIELDS = 30  # of the right requests, some of which are so answered by the caches
FLAGS = (
    *("--batch-sizes", "[1]", "--max-cases", "64", "--max-body-bytes", "1000000", "--cache-bytes", "1000000"),
    *("--rollout-steps", "40", "--repository-control", "true"),
)
INTERNAL = b'"error":"internal error"'  # in the last frame of a stream, whose status was sent long before


@dataclass
class Found:
    """What came of the requests to one target. memory: resident bytes after each burst."""

    statuses: Counter[int] = field(default_factory=Counter)
    faults: list[tuple[Sent, int, bytes]] = field(default_factory=list)
    wrong_answers: int = 0
    slowest: float = 0.0
    memory: list[int] = field(default_factory=list)

    @property
    def growth(self) -> float:
        """Of memory: the last third of the time over the middle one."""
        third = max(1, len(self.memory) // 3)
        return float(np.median(self.memory[-third:]) / np.median(self.memory[-2 * third : -third]))


def main() -> int:
    """Ask, and look at what comes back."""
    parser = argument_parser(__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long (10)")
    parser.add_argument("--seed", type=int, default=0, help="of the requests (0)")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        models, port = Path(folder) / "models", free_port(2)
        served_models.write(models, [MODEL, MARCHING])
        flags = (*FLAGS, "--grpc-port", str(port + 1))
        pid = stack.enter_context(servers.running(servers.ours(models, port, *flags), Path(folder) / "log"))
        settings = read_settings(["--models", str(models), *FLAGS])
        targets = [stack.enter_context(in_process(settings))]
        remote = over_the_network(f"http://127.0.0.1:{port}", f"127.0.0.1:{port + 1}", pid)
        targets.append(stack.enter_context(remote))
        found = fuzzed(targets, asked.minutes * 60, np.random.default_rng(asked.seed))
        sys.stderr.write((Path(folder) / "log").read_text()[-2000:])
    for name, outcome in found.items():
        print(name, dict(sorted(outcome.statuses.items())), f"slowest {outcome.slowest:.2f} s")
        for sent, status, said in outcome.faults:
            print(status, said[:200], sent)
    return report(figures(found), asked.json)


def fuzzed(targets: list[Target], seconds: float, rng: Rng) -> dict[str, Found]:
    """What each target answers, in turns, for so long."""
    found = {target.name: Found() for target in targets}
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for target in targets:
            burst(target, found[target.name], rng, BURST)
    return found


def burst(target: Target, found: Found, rng: Rng, requests: int, model: str = MODEL) -> None:
    """So many requests to one target."""
    for number in range(requests):
        inputs = drawn(rng)
        if number % EVERY:
            sent = wrong(model, inputs, rng)
        else:
            inputs = drawn(np.random.default_rng(rng.integers(FIELDS)))
            kinds = list(FORMATS)
            sent = FORMATS[kinds[number // EVERY % len(kinds)]].valid(model, inputs)
        began = time.perf_counter()
        status, content = target.ask(sent)
        found.slowest = max(found.slowest, time.perf_counter() - began)
        status = 500 if INTERNAL in content else status
        found.statuses[status] += 1
        if is_fault(status) and len(found.faults) < KEPT:
            found.faults.append((sent, status, content))
        if not number % EVERY and (status != 200 or not is_right(sent, content, inputs)):
            found.wrong_answers += 1
    found.memory.append(psutil.Process(target.pid).memory_info().rss)


def drawn(rng: Rng) -> Field:
    """A field on a small grid."""
    return rng.standard_normal((*rng.integers(9, 14, 2), 1)).astype(np.float32)


def is_right(sent: Sent, content: bytes, inputs: Field) -> bool:
    """Whether the mean in an answer is the inputs."""
    match sent.kind:
        case "json" | "derivatives":
            mean: Any = np.float32(msgspec.json.decode(content)["outputs"]["mean"])
        case "msgpack":
            mean = np.frombuffer(msgspec.msgpack.decode(content)["outputs"]["mean"]["data"], "<f4")
        case "rollout":
            mean = np.float32(msgspec.json.decode(content.splitlines()[-1])["outputs"]["mean"])
        case "npy":
            mean = np.load(io.BytesIO(content))
        case "grpc":
            mean = np.frombuffer(pb.ModelInferResponse.FromString(content).raw_output_contents[0], "<f4")
        case "v2":
            mean = np.float32(msgspec.json.decode(content)["outputs"][0]["data"])
        case _:
            mean = np.frombuffer(content[-inputs.nbytes :], "<f4")  # behind a JSON header
    return np.array_equal(np.ravel(mean), inputs.ravel())


def is_fault(status: int) -> bool:
    """Whether a status says that the server is at fault."""
    return status >= 500 and status not in (503, 504)


def figures(found: dict[str, Found]) -> list[Figure]:
    """What is reported."""
    requests = sum(outcome.statuses.total() for outcome in found.values())
    accepted = sum(outcome.statuses[200] for outcome in found.values())
    answers = [answer for outcome in found.values() for answer in outcome.statuses.items()]
    faults = sum(count for status, count in answers if is_fault(status))
    unit = "ratio"
    growths = [
        Figure(f"growth_{name.replace(' ', '_')}", outcome.growth, unit, 1.0, at_most=1.05)
        for name, outcome in found.items()
    ]
    mistaken = sum(outcome.wrong_answers for outcome in found.values())
    return [
        Figure("requests", float(requests), "requests", 100_000),
        Figure("accepted_share", accepted / requests, "of all", 0.1),
        Figure("server_errors", float(faults), "requests", 0, at_most=0),
        Figure("wrong_answers", float(mistaken), "requests", 0, at_most=0),
        *growths,
    ]


if __name__ == "__main__":
    run(main)
