"""The fleet in the words of scaling."""

import time
from collections.abc import Mapping, Sequence

from serving.fleet.balancer import BalancerFigures
from serving.fleet.replicas.life import Phase
from serving.fleet.scaling import Observation
from serving.fleet.supervisor.roster import Roster

_STARTED = time.time() - time.monotonic()  # so that a clock that is set back or forth moves nothing


def observe(wanted: int, roster: Roster, balancer: BalancerFigures | None, metrics: Mapping[str, float]) -> Observation:
    """Of the replicas that get requests; the rate and what is open as the balancer counts them."""
    serving = [name for name, each in roster.replicas.items() if each.serving and each.phase is Phase.READY]
    told = [figures for name in serving if (figures := roster.watches[name].figures) is not None]
    p99 = [figures.p99_seconds for figures in told if figures.p99_seconds is not None]
    return Observation(
        time=_STARTED + time.monotonic(),
        clock=time.time(),
        replicas=wanted,
        ready=len(serving),
        requests_per_second=None if balancer is None else balancer.requests_per_second,
        utilisation=_mean([figures.utilisation for figures in told]),
        queue_seconds=_mean([figures.waiting_seconds for figures in told]),
        p99_seconds=max(p99, default=None),
        open_requests=None if balancer is None else balancer.open_requests + balancer.queue,
        metrics=metrics,
        reporting=len(told),
        refused_per_second=sum(figures.refused_per_second for figures in told) if told else None,
    )


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
