"""A replica's figures: what it did between two readings of its counters, from Prometheus' text."""

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import msgspec

from serving.access import scope_of

_SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
WHOLE = {  # figures that are summed over their labels
    "pnol_engine_busy_seconds_total": "busy",
    "pnol_engine_waiting_cases": "waiting_cases",
    "pnol_engine_waiting_seconds": "waiting_seconds",
    "process_resident_memory_bytes": "resident_bytes",
    "pnol_workers": "workers",
}
REQUESTS, SECONDS = "pnol_requests_total", "pnol_request_seconds"


@dataclass(frozen=True)
class Reading:
    """Counters and gauges at a moment. `buckets`: requests that took no longer than so many seconds."""

    time: float
    whole: Mapping[str, float] = field(default_factory=dict)
    requests: float = 0.0
    failures: float = 0.0
    seconds: float = 0.0
    buckets: Mapping[float, float] = field(default_factory=dict)
    refused: float = 0.0


class Figures(msgspec.Struct, frozen=True):
    """Of the time between two readings; of requests that predict. What nobody asked has no seconds."""

    requests_per_second: float = 0.0
    failures_per_second: float = 0.0
    refused_per_second: float = 0.0  # 503, failures too: what comes to a queue that is full, or waited too long in it
    requests: int = 0
    seconds: float | None = None
    p99_seconds: float | None = None
    utilisation: float = 0.0
    waiting_cases: float = 0.0
    waiting_seconds: float = 0.0
    resident_bytes: float = 0.0


def read(time: float, text: str) -> Reading:
    """The reading in the text of `/monitoring/metrics`."""
    whole: dict[str, float] = defaultdict(float)
    buckets: dict[float, float] = defaultdict(float)
    requests = failures = refused = seconds = 0.0
    for name, labels, number in _SAMPLE.findall(text):
        if name in WHOLE:
            whole[WHOLE[name]] += float(number)
        elif name.startswith(("pnol_request_seconds_", REQUESTS)):
            of = _labels(labels)
            if not predicts(of.get("endpoint", "")):
                continue
            if name == REQUESTS:
                requests += float(number)
                failures += float(number) if of["status"].startswith("5") else 0.0
                refused += float(number) if of["status"] == "503" else 0.0
            elif name == f"{SECONDS}_sum":
                seconds += float(number)
            elif name == f"{SECONDS}_bucket":
                buckets[float(of["le"])] += float(number)
    return Reading(time, dict(whole), requests, failures, seconds, dict(buckets), refused)


def between(before: Reading, after: Reading) -> Figures:
    """What was done between two readings of one process."""
    elapsed = max(after.time - before.time, 1e-9)
    requests, whole = max(0.0, after.requests - before.requests), after.whole
    busy = (whole.get("busy", 0.0) - before.whole.get("busy", 0.0)) / elapsed / max(1.0, whole.get("workers", 1.0))
    counts = {le: count - before.buckets.get(le, 0.0) for le, count in after.buckets.items()}
    return Figures(
        requests_per_second=requests / elapsed,
        failures_per_second=max(0.0, after.failures - before.failures) / elapsed,
        refused_per_second=max(0.0, after.refused - before.refused) / elapsed,
        requests=int(requests),
        seconds=(after.seconds - before.seconds) / requests if requests else None,
        p99_seconds=quantile(counts, 0.99),
        utilisation=min(1.0, max(0.0, busy)),
        waiting_cases=whole.get("waiting_cases", 0.0),
        waiting_seconds=whole.get("waiting_seconds", 0.0) / max(1.0, whole.get("workers", 1.0)),
        resident_bytes=whole.get("resident_bytes", 0.0),
    )


def quantile(buckets: Mapping[float, float], share: float) -> float | None:
    """A quantile of cumulative counts by upper bound, linear within a bucket, as Prometheus' `histogram_quantile`.

    Beyond the last finite bound it is that bound; None of nothing.
    """
    bounds = sorted(buckets)
    if not bounds or not buckets[bounds[-1]]:
        return None
    rank = share * buckets[bounds[-1]]
    at = bisect_left([buckets[bound] for bound in bounds], rank)
    finite = [bound for bound in bounds if bound != float("inf")]
    if at >= len(finite):
        return finite[-1] if finite else None
    low, below = (bounds[at - 1], buckets[bounds[at - 1]]) if at else (0.0, 0.0)
    return low + (bounds[at] - low) * (rank - below) / (buckets[bounds[at]] - below)


@lru_cache(maxsize=4096)
def _labels(text: str) -> dict[str, str]:
    return dict(_LABEL.findall(text))


def predicts(endpoint: str) -> bool:
    """Whether requests to an endpoint are the work that replicas are for."""
    return scope_of(endpoint) == "predict" and endpoint != "/feedback"
