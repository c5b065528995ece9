"""Our default policy against Kubernetes' HorizontalPodAutoscaler, in simulated time.

Both meet the same requests and the same replicas (`serving.fleet.scaling.world`: 250 ms a request, 10 s to start, an
objective of 1 s, one queue). Ours decides every 0.5 s on figures of the last second, as the supervisor does, and has
no spare. The HPA has its defaults, every 15 s on means over 15 s, which is kinder than a metrics server. Its target of
utilisation is the one from 0.5 to 0.8 at which its cost is nearest to ours: over all traces, which count alike, and
for the figures of a trace on that trace alone. `fast` HPAs decide every 2 s on means over 10 s and let
replicas go as soon as ours.
Our defaults were chosen on the seeds 0 and 1 of ramp, spike, step and burst, from 24 settings of target, within and
window, with means over 10 s read every 2 s; day was not looked at. What is printed are other seeds.
"""

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from os import sched_getaffinity

from rich.console import Console
from rich.table import Table

from benchmarks.autoscale_sides import DEFAULTS, FAST, OURS, Score, Side, score
from benchmarks.report import Figure, argument_parser, report
from experiments.command import run
from serving.fleet.scaling.traces import MADE

JUDGED = 100  # the first seed; none of those that the defaults were chosen on
GOAL, COST = 0.5, 1.05
NEVER = 1e-6  # violations, fewer of which count as so many

Scores = dict[tuple[str, str], Score]  # of side and trace


def main() -> int:
    """Run the benchmark."""
    options = argument_parser(__doc__, rounds=3).parse_args()
    scores = measure((OURS, *DEFAULTS, *FAST), range(JUDGED, JUDGED + options.rounds))
    equal, best, fast = nearest(scores, DEFAULTS), fewest(scores, DEFAULTS), nearest(scores, FAST)
    Console().print(_table(scores, (OURS, *DEFAULTS, *FAST)))
    print(f"of equal cost: {equal.name}, {fast.name}; with the fewest violations: {best.name}")
    return report([*_figures(scores, equal, best, fast)], options.json)


def measure(sides: Sequence[Side], seeds: Sequence[int]) -> Scores:
    """Every side on every trace: means over seeds, and over traces as `all`."""
    jobs = [(side, trace, seed) for trace in MADE for side in sides for seed in seeds]
    with ProcessPoolExecutor(len(sched_getaffinity(0)), get_context("spawn")) as pool:
        done = dict(
            zip(
                ((side.name, trace, seed) for side, trace, seed in jobs),
                pool.map(score, *zip(*jobs, strict=True)),
                strict=True,
            )
        )
    scores = {
        (side.name, trace): Score.mean([done[side.name, trace, seed] for seed in seeds])
        for side in sides
        for trace in MADE
    }
    overall = {(side.name, "all"): Score.mean([scores[side.name, trace] for trace in MADE]) for side in sides}
    return scores | overall


def nearest(scores: Scores, sides: Sequence[Side], trace: str = "all") -> Side:
    """The side whose cost is nearest to ours."""
    return min(sides, key=lambda side: abs(scores[side.name, trace].replicas - scores[OURS.name, trace].replicas))


def fewest(scores: Scores, sides: Sequence[Side]) -> Side:
    """The side with the fewest violations over all traces, whatever it costs."""
    return min(sides, key=lambda side: scores[side.name, "all"].violations)


def _figures(scores: Scores, equal: Side, best: Side, fast: Side) -> list[Figure]:
    found = _against(scores, equal, "all", "hpa", "")
    found[0] = Figure(found[0].name, found[0].value, "ratio", GOAL, at_most=1.0)
    found[1] = Figure(found[1].name, found[1].value, "ratio", COST, at_most=1.1)
    for trace in MADE:
        found += _against(scores, nearest(scores, DEFAULTS, trace), trace, "hpa", f"_{trace}")
    found += _against(scores, best, "all", "best_hpa", "")
    found += _against(scores, fast, "all", "fast_hpa", "")
    return found


def _against(scores: Scores, side: Side, trace: str, name: str, of: str) -> list[Figure]:
    """Ours over another's."""
    own, other = scores[OURS.name, trace], scores[side.name, trace]
    late = max(own.violations, NEVER) / max(other.violations, NEVER)
    return [
        Figure(f"violations_vs_{name}{of}", late, "ratio", GOAL, less=True),
        Figure(f"cost_vs_{name}{of}", own.replicas / other.replicas, "ratio", COST, less=True),
    ]


def _table(scores: Scores, sides: Sequence[Side]) -> Table:
    table = Table(
        "side", *MADE, "all", title="requests that took too long, and replicas on average", title_justify="left"
    )
    for side in sides:
        cells = (scores[side.name, trace] for trace in (*MADE, "all"))
        table.add_row(side.name, *(f"{cell.violations:.3%} {cell.replicas:.2f}" for cell in cells))
    return table


if __name__ == "__main__":
    run(main)
