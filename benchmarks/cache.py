"""The prediction cache: hit ratios beside LRU and the optimum, a hit beside a computation, bytes saved, wrong answers.

Hit ratios are of the policy alone on traces by Zipf's law, at equal bytes: by requests, and by the bytes asked for,
which is what saves computing time where that grows with the size of an answer. A hit and a computation go through
`Service.answer`, on FNOs that are trained for it. A million look-ups share bytes and nothing else.
"""

import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.cache_answers import Asked, Model, answers, compression_ratio, runner, services
from benchmarks.cache_lookups import look_up
from benchmarks.cache_policies import LRU, TinyLFU
from benchmarks.cache_traces import Ratios, Trace, optimum, replay, traces
from benchmarks.measure import LocalSide, Timings, alternate, median_interval
from benchmarks.report import Figure, argument_parser, report
from experiments import fetch
from experiments.command import run
from pnol_jax.memory import keep_arena
from serving.cache.key import Request, request_key
from serving.cache.policy import Policy
from serving.cache.s3fifo import S3FIFO

MODELS = (Model("small", 16, 8, 4), Model("fno", 64, 32, 12))
POLICIES: dict[str, Callable[[int], Policy]] = {"LRU": LRU, "S3-FIFO": S3FIFO, "W-TinyLFU": TinyLFU}
SERVED = "S3-FIFO"
COMPUTED, HELD, PACKED = "computed", "held", "held, compressed"
KEYS = 100  # made in one step


def main() -> int:
    """Measure all of it."""
    parser = argument_parser(__doc__, rounds=15, burst=0.3)
    parser.add_argument("--look-ups", type=int, default=10**6, help="that share bytes (default a million)")
    options = parser.parse_args()
    keep_arena()
    figures = hit_ratios()
    found, measured = key_times(options.rounds, options.burst)
    figures, timings = [*figures, *found], {f"{KEYS} keys of 16 KiB": measured}
    fetch.main(["darcy"])
    with tempfile.TemporaryDirectory() as folder:
        for model in MODELS:
            found, measured = served(model, Path(folder) / model.name, options.rounds, options.burst)
            figures += found
            timings[f"{model.name}: an answer, FNO of width {model.width} on {model.points}x{model.points}"] = measured
    for n in (16, 32):
        fields = np.load(f"data/darcy/darcy_test_{n}.npz")["pressure"]
        figures.append(Figure(f"compression_ratio_pressure_{n}", compression_ratio(fields), "ratio", 2.5))
    figures += wrong_answers(options.look_ups)
    return report(figures, options.json, timings)


def hit_ratios() -> list[Figure]:
    """Every policy on every trace, as a table; the served one as figures: the worst, and of each trace by requests."""
    table = Table("trace", *POLICIES, "optimum", title="hits by requests / by bytes")
    figures: list[Figure] = []
    ratios: dict[str, list[float]] = {kind: [] for kind in ("still", "moving", "equal", "unequal")}
    for trace in traces():
        found, best = {name: replay(trace, make) for name, make in POLICIES.items()}, optimum(trace)
        table.add_row(trace.name, *(f"{r.requests:.4f} / {r.bytes:.4f}" for r in (*found.values(), best)))
        served, lru = found[SERVED], found["LRU"]
        moving, unequal = "moving" in trace.name, trace.is_unequal
        ratios["moving" if moving else "still"] += [served.requests / lru.requests, served.bytes / lru.bytes]
        ratios["unequal" if unequal else "equal"] += [served.requests / best.requests, served.bytes / best.bytes]
        figures += _of_trace(trace, served, lru, best)
    Console().print(table)
    return [
        Figure("hit_ratio_vs_lru", min(ratios["still"]), "ratio", 1.0, at_least=1.0),
        Figure("hit_ratio_vs_lru_moving", min(ratios["moving"]), "ratio", 1.0),
        Figure("hit_ratio_vs_optimum", min(ratios["equal"]), "share", 1.0),
        Figure("hit_ratio_vs_bound_unequal", min(ratios["unequal"]), "share", 1.0),
        *figures,
    ]


def _of_trace(trace: Trace, served: Ratios, lru: Ratios, best: Ratios) -> list[Figure]:
    return [
        Figure(f"hit_ratio_vs_lru_{trace.name}", served.requests / lru.requests, "ratio", 1.0),
        Figure(f"hit_ratio_vs_optimum_{trace.name}", served.requests / best.requests, "share", 1.0),
    ]


def key_times(rounds: int, burst: float) -> tuple[list[Figure], Timings]:
    """The key of 16 KiB of inputs by BLAKE3 as it is served, and by BLAKE2b, in turns."""
    inputs = np.random.default_rng(0).standard_normal((1, 64, 64, 1)).astype(np.float32)

    def ours() -> None:
        for seed in range(KEYS):
            request_key(inputs, Request("fno", "1", "digest", (64, 64), "grid", "moments", seed, inputs).context)

    def other() -> None:
        for seed in range(KEYS):
            request = Request("fno", "1", "digest", (64, 64), "grid", "moments", seed, inputs)
            hashlib.blake2b(request.context + inputs.tobytes(), digest_size=32).digest()

    timings = alternate([LocalSide("BLAKE3", ours), LocalSide("BLAKE2b", other)], rounds, burst)
    each = 1e6 / KEYS
    low, high = median_interval(timings.seconds["BLAKE3"])
    interval = (each * low, each * high)
    return [
        Figure("key_microseconds", each * timings.median("BLAKE3"), "us", 5.0, interval=interval, less=True),
        Figure.of_ratio("key_speedup_vs_blake2b", timings.ratio("BLAKE2b", "BLAKE3"), 5.0),
    ], timings


def served(model: Model, folder: Path, rounds: int, burst: float) -> tuple[list[Figure], Timings]:
    """A computed answer and a held one in turns; and the bytes that answers take."""
    folder.mkdir()
    inputs = model.make(folder)
    plain, packed, engine = services(folder)
    with runner() as loop:
        asked = (model.name, inputs[0], loop)
        sides = [Asked(COMPUTED, plain, *asked, fresh=True), Asked(HELD, plain, *asked, fresh=False)]
        timings = alternate([*sides, Asked(PACKED, packed, *asked, fresh=False)], rounds, burst)
        found = loop.run(answers(plain, model.name, inputs))
    engine.close()
    arrays = [array for answer in found for array in answer.values()]
    speedup = timings.ratio(COMPUTED, HELD)
    suffix = "" if model is MODELS[-1] else f"_{model.name}"
    return [
        Figure.of_ratio(f"hit_speedup{suffix}", speedup, 20.0),
        Figure.of_ratio(f"hit_speedup_compressed{suffix}", timings.ratio(COMPUTED, PACKED), 20.0),
        Figure(f"compression_ratio_answers{suffix}", compression_ratio(arrays), "ratio", 2.5),
        Figure(f"compression_ratio_means{suffix}", compression_ratio(a["mean"] for a in found), "ratio", 2.5),
    ], timings


def wrong_answers(count: int) -> list[Figure]:
    """Look-ups that share bytes and nothing else."""
    found = look_up(count)
    return [
        Figure("wrong_answers", found.wrong, f"of {found.count}", 0.0, at_most=0.0),
        Figure("wrong_answers_hits", found.hits, "hits", found.count / 10, at_least=found.count / 100),
    ]


if __name__ == "__main__":
    run(main)
