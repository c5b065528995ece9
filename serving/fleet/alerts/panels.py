"""What the dashboard shows: each panel a title, a unit and its queries, each with a name for its lines."""

from dataclasses import dataclass

from serving.fleet.alerts.burn import FAILURES, SLOW
from serving.fleet.alerts.state import CALIBRATION_DRIFT, INPUT_DRIFT, LOAD, QUEUE, READY, RECOMMENDED, REQUESTS
from serving.fleet.alerts.watched import ANSWERS, Watched

STEP = "$__rate_interval"  # Grafana's: a rate over it has points enough
QUANTILES = (0.5, 0.9, 0.99)


@dataclass(frozen=True)
class Panel:
    """Lines over time. unit: as Grafana names it; `queries`: pairs of an expression and a legend."""

    title: str
    unit: str
    queries: tuple[tuple[str, str], ...]


def panels(watched: Watched) -> dict[str, tuple[Panel, ...]]:
    """The panels by their row."""
    return {
        "Replicas": (*_replicas(watched), *_resources(watched), *(_decisions(watched) if watched.supervised else ())),
        "Requests": _requests(watched),
        "Engine and cache": (*_engine(watched), _cache(watched)),
        "Inputs and calibration": _drift(watched),
    }


def _replicas(watched: Watched) -> tuple[Panel, ...]:
    select = watched.select
    counts = (
        (select(READY), "ready"),
        (select(RECOMMENDED), "recommended by the load"),
        (f"count({select('up')})", "scraped"),
    )
    firing = f"sum by (alertname, severity) ({select('ALERTS', alertstate='firing')})"
    return (
        Panel("Replicas", "short", counts),
        Panel("Load: utilisation and backlog", "short", ((select(LOAD), "{{instance}}"),)),
        Panel("Alerts", "short", ((firing, "{{alertname}} {{severity}}"),)),
    )


def _requests(watched: Watched) -> tuple[Panel, ...]:
    select, seconds = watched.select, watched.select("pnol_request_seconds_bucket", endpoint=ANSWERS)
    rate = f"sum by (endpoint, status) (rate({select('pnol_requests_total')}[{STEP}]))"
    stages = f"sum by (le, stage) (rate({select('pnol_stage_seconds_bucket')}[{STEP}]))"
    budgets = tuple((select(of.share(w)), f"{of.what}, {w}") for of in (FAILURES, SLOW) for w in ("5m", "1h", "6h"))
    return (
        Panel("Requests a second", "reqps", ((rate, "{{endpoint}} {{status}}"),)),
        Panel("Requests a second by replica", "reqps", ((select(REQUESTS), "{{instance}}"),)),
        Panel("Share of the objectives' failures", "percentunit", budgets),
        Panel("Time to answer", "s", _quantiles(f"sum by (le) (rate({seconds}[{STEP}]))", QUANTILES)),
        Panel("Time of a stage, 50%", "s", _quantiles(stages, QUANTILES[:1], "{{stage}}")),
        Panel("Time of a stage, 99%", "s", _quantiles(stages, QUANTILES[-1:], "{{stage}}")),
    )


def _quantiles(buckets: str, quantiles: tuple[float, ...], legend: str = "") -> tuple[tuple[str, str], ...]:
    return tuple((f"histogram_quantile({q:g}, {buckets})", legend or f"{q:.0%}") for q in quantiles)


def _engine(watched: Watched) -> tuple[Panel, ...]:
    select = watched.select
    utilisation = f"avg by (instance) ({select('pnol_engine_utilisation')})"
    waiting = f"sum by (instance) ({select('pnol_engine_waiting_cases')})"
    refused = f"sum(rate({select('pnol_engine_refused_total')}[{STEP}]))"
    fill = " / ".join(
        f"sum by (model, version) (rate({select(f'pnol_batch_fill_{part}')}[{STEP}]))" for part in ("sum", "count")
    )
    return (
        Panel("Engine's utilisation", "percentunit", ((utilisation, "{{instance}}"),)),
        Panel("Queue", "s", ((select(QUEUE), "{{instance}}"),)),
        Panel("Cases waiting, requests refused", "short", ((waiting, "{{instance}}"), (refused, "refused a second"))),
        Panel("Batch fill", "percentunit", ((fill, "{{model}}/{{version}}"),)),
    )


def _cache(watched: Watched) -> Panel:
    def rate(kind: str) -> str:
        return f"sum(rate({watched.select(f'pnol_cache_{kind}_total')}[{STEP}]))"

    found = " + ".join(map(rate, ("hits", "approximate_hits", "joined")))
    held = " / ".join(f"sum({watched.select(f'pnol_cache_{part}')})" for part in ("bytes", "capacity_bytes"))
    hits = f"({found}) / ({found} + {rate('misses')})"
    return Panel("Cache: share of answers, room taken", "percentunit", ((hits, "answers"), (held, "room")))


def _drift(watched: Watched) -> tuple[Panel, ...]:
    select = watched.select
    alarms = " / ".join(
        f"sum by (model, version) ({select(f'pnol_input_{part}_total')})" for part in ("alarms", "alarm_cases")
    )
    missed = " / ".join(
        f"sum by (model, version, level) ({select(f'pnol_interval_miss_share_{part}')})" for part in ("sum", "count")
    )
    allowed, lucky = (
        f"max by (model, version{more}) ({select(f'pnol_{of}_allowed_rate')})"
        for of, more in (("input_alarm", ""), ("interval_miss", ", level"))
    )
    version = "{{model}}/{{version}}"
    level = f"{version} {{{{level}}}}"
    p_values = ((select(INPUT_DRIFT), f"inputs {version}"), (select(CALIBRATION_DRIFT), f"intervals {level}"))
    return (
        Panel("Strange inputs", "percentunit", ((alarms, version), (allowed, f"{version} allowed"))),
        Panel("Coverage", "percentunit", ((f"1 - {missed}", level), (f"1 - {lucky}", f"{level} allowed"))),
        Panel("p-value of no drift", "short", p_values),
    )


def _resources(watched: Watched) -> tuple[Panel, ...]:
    select = watched.select
    held = f"sum by (instance) ({select('process_resident_memory_bytes')})"
    cores = f"sum by (instance) (rate({select('process_cpu_seconds_total')}[{STEP}]))"
    restarts = f"sum by (instance) (resets({select('process_cpu_seconds_total')}[{STEP}]))"
    return (
        Panel(
            "Memory and disk",
            "bytes",
            ((held, "{{instance}}"), (select("pnol_disk_free_bytes"), "{{instance}} free on disk")),
        ),
        Panel("Cores", "short", ((cores, "{{instance}}"),)),
        Panel("Restarts", "short", ((restarts, "{{instance}}"),)),
    )


def _decisions(watched: Watched) -> tuple[Panel, ...]:
    """What the supervisor has decided, and what came of it."""
    select = watched.select
    decided = ((select("pnol_fleet_desired"), "desired"), (select("pnol_fleet_serving"), "with requests"))
    phases = f"sum by (phase) ({select('pnol_fleet_replicas')})"
    events = tuple(
        (f"increase({select(f'pnol_fleet_{name}_total')}[{STEP}])", name)
        for name in ("starts", "failures", "rollbacks")
    )
    return (
        Panel("Scaling decisions", "short", decided),
        Panel("Replicas by phase", "short", ((phases, "{{phase}}"),)),
        Panel("Starts, failures, rollbacks", "short", events),
    )
