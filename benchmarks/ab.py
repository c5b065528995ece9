"""A version that is worse calibrated gets a tenth of the traffic: how long until the rule takes it back?

Two real servables behind the real service, its engine and its sequential test in this process (without HTTP). The truth
of every request is the model's mean plus noise; the first version knows the noise, the second believes in half of it.
Requests come at a stated rate, and the truth of each with its answer. For false alarms two versions that are equally
good (their errors mirror each other) are scored by the same service on many truths; each null run draws from those
scores, either version's at random on either side, and asks the real rule after every truth. It stops at the first
rollback: a test that is only valid at one time would fail here.
"""

import asyncio
import itertools
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import NormalDist

import numpy as np
from rich.console import Console

from benchmarks.ab_sides import MODEL, cases, loaded
from benchmarks.report import Figure, argument_parser, report
from experiments.command import run
from pnol_jax.memory import keep_arena
from serving.cache import Cache
from serving.engine import Engine
from serving.query import Options, Query
from serving.releases.feedback import judge
from serving.releases.ledger import Ledger
from serving.releases.service import ReleasingService
from serving.releases.tally import Scores
from serving.repository import Repository
from serving.rule import Rule

RATE = 20.0  # requests, and truths, a second
LIMIT = 2000  # requests until a run is given up
NULL_RUNS, NULL_TRUTHS, RECORDED = 200, 1000, 1000
RULE = Rule(metric="crps", level=0.05, minimum=50)
LABELS = f"""stable = "{{stable}}"
canary = "{{canary}}"
[split]
stable = 0.9
canary = 0.1
[rule]
metric = "{RULE.metric}"
level = {RULE.level}
minimum = {RULE.minimum}
on_worse = "{{on_worse}}"
"""


def main() -> int:
    """Measure requests and seconds to a rollback, and the share of false ones."""
    options = argument_parser(__doc__, rounds=5).parse_args()
    keep_arena()
    with tempfile.TemporaryDirectory() as folder, loaded(Path(folder)) as (repository, engine):
        runs = [asyncio.run(rollback(repository, engine, seed)) for seed in range(options.rounds)]
        recorded = asyncio.run(null_scores(repository, engine))
    requests, seconds = (float(np.median(values)) for values in zip(*runs, strict=True))
    Console().print(f"(requests, seconds at {RATE:g} truths a second) of each run: {runs}")
    generator = np.random.default_rng(0)
    naive = np.mean([naive_run(recorded, generator) for _ in range(NULL_RUNS)])
    Console().print(f"a t-test of {RULE.level:g} after every truth would roll back {naive:.0%} of the null runs")
    false = float(np.mean([null_run(recorded, generator) for _ in range(NULL_RUNS)]))
    figures = [
        Figure("rollback_requests", requests, "requests", 200, less=True),
        Figure("rollback_seconds", seconds, "s", 200 / RATE, less=True),
        Figure("false_rollback_rate", false, "ratio", RULE.level, at_most=RULE.level, interval=wilson(false)),
    ]
    return report(figures, options.json)


def service_of(repository: Repository, engine: Engine, **labels: str) -> ReleasingService:
    """A service that knows nothing yet, with these labels."""
    (repository.folder / MODEL / "labels.toml").write_text(LABELS.format(**labels))
    repository.refresh()
    repository.wait()
    limits = {"feedback_requests": 100, "feedback_bytes": 2**20, "shadow_queue": 1}
    return ReleasingService(repository, engine, Cache(2**20), 1, 60.0, **limits)


async def rollback(repository: Repository, engine: Engine, seed: int) -> tuple[int, float]:
    """Requests and seconds until version 2 has no label any more."""
    service = service_of(repository, engine, stable="1", canary="2", on_worse="roll_back")
    began = time.perf_counter()
    for number, (field, truth) in enumerate(itertools.islice(cases(seed), LIMIT)):
        await asyncio.sleep(began + number / RATE - time.perf_counter())
        answer = await service.answer(Query(Options(model=MODEL), field))
        await judge(service, service.memory.recall(str(answer.id)), truth)
        if repository.catalogue.labels[MODEL]["canary"].version == "1":
            return number + 1, time.perf_counter() - began
    return LIMIT, float("inf")


async def null_scores(repository: Repository, engine: Engine) -> Sequence[tuple[Scores, Scores]]:
    """Scores of versions 3 and 4, which are equally good, on the same truths."""
    service = service_of(repository, engine, stable="3", canary="4", on_worse="nothing")
    recorded = []
    for field, truth in itertools.islice(cases(seed=10**6), RECORDED):
        judged = await judge(service, service.asked(Query(Options(model=MODEL), field)), truth)
        recorded.append((judged.scores["3"], judged.scores["4"]))
    return recorded


def null_run(recorded: Sequence[tuple[Scores, Scores]], generator: np.random.Generator) -> bool:
    """Whether the rule ever wants to roll back, of two versions between which there is nothing to choose."""
    ledger = Ledger(remembered=1)
    decisions = (ledger.compare(("3", "4"), RULE, *scores) for scores in drawn(recorded, generator))
    return any(decision == "roll_back" for decision in decisions)


def naive_run(recorded: Sequence[tuple[Scores, Scores]], generator: np.random.Generator) -> bool:
    """Whether a test that holds its level at one time only would ever reject."""
    differences = np.array([candidate.crps - base.crps for base, candidate in drawn(recorded, generator)])
    count = np.arange(1, NULL_TRUTHS + 1)
    mean, square = np.cumsum(differences) / count, np.cumsum(differences**2) / count
    score = np.sqrt(count) * mean / np.sqrt(np.maximum(square - mean**2, np.finfo(float).tiny))
    return bool((score[RULE.minimum - 1 :] > NormalDist().inv_cdf(1 - RULE.level)).any())


def drawn(recorded: Sequence[tuple[Scores, Scores]], generator: np.random.Generator) -> Iterator[tuple[Scores, Scores]]:
    """Scores of a null run: recorded ones, either version's at random on either side."""
    for index in generator.integers(len(recorded), size=NULL_TRUTHS):
        yield recorded[index] if generator.random() < 0.5 else recorded[index][::-1]


def wilson(share: float, runs: int = NULL_RUNS, score: float = 1.96) -> tuple[float, float]:
    """The 95% interval of a share of runs (Wilson 1927)."""
    centre = (share + score**2 / (2 * runs)) / (1 + score**2 / runs)
    half = score / (1 + score**2 / runs) * float(np.sqrt(share * (1 - share) / runs + score**2 / (4 * runs**2)))
    return max(0.0, centre - half), min(1.0, centre + half)


if __name__ == "__main__":
    run(main)
