"""The figures of all workers in the words of `GET /stats` and `GET /monitoring/scaling`."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from serving.monitoring.families import Families, Labels
from serving.monitoring.gpus import FIGURES as GPU_FIGURES
from serving.monitoring.stages import STAGES
from serving.monitoring.utilisation import Scaling, recommended_replicas
from serving.settings import Settings

ENGINE = ("batches", "cases", "slots", "failures", "refused", "busy_seconds")
CACHE = ("hits", "repeated", "approximate_hits", "misses", "joined", "skipped", "evictions", "saved_seconds")
HELD = ("entries", "bytes", "whole_bytes", "capacity_bytes")
RESOURCES = {  # the sums over the workers, then what all of them see
    "cpu_seconds": "process_cpu_seconds_total",
    "resident_bytes": "process_resident_memory_bytes",
    "open_files": "process_open_fds",
    "threads": "process_threads",
    "cpu_cores": "pnol_machine_cpu_cores",
    "memory_limit_bytes": "pnol_machine_memory_limit_bytes",
    "memory_used_bytes": "pnol_machine_memory_used_bytes",
}


class Summary:
    """Looks into merged figures by name."""

    def __init__(self, families: Families) -> None:
        self._samples: dict[str, dict[Labels, float]] = defaultdict(dict)
        for family in families:
            for name, labels, value in family.samples:
                self._samples[name][labels] = value

    def __contains__(self, name: str) -> bool:
        return name in self._samples

    def value(self, name: str) -> float:
        """Of a figure without labels, or the sum over them; 0 where nothing was counted."""
        return sum(self._samples.get(name, {}).values())

    def labelled(self, name: str) -> Iterator[tuple[dict[str, str], float]]:
        """Of a figure with labels."""
        for labels, value in self._samples.get(name, {}).items():
            yield dict(labels), value

    def by(self, name: str, label: str) -> dict[str, float]:
        """The sums by one of the labels."""
        sums: dict[str, float] = defaultdict(float)
        for labels, value in self.labelled(name):
            sums[labels[label]] += value
        return dict(sums)

    def by_version(self, name: str, model: str) -> dict[str, float]:
        """The sums of a model's versions."""
        sums: dict[str, float] = defaultdict(float)
        for labels, value in self.labelled(name):
            if labels["model"] == model:
                sums[labels["version"]] += value
        return dict(sums)


def stats(families: Families) -> dict[str, Any]:
    """What `GET /stats` says of them."""
    found = Summary(families)
    statuses = found.by("pnol_requests_total", "status")
    return {
        "workers": _plain(found.value("pnol_workers")),
        "requests_by_status": {status: _plain(count) for status, count in statuses.items()},
        "engine": _engine(found),
        "cache": {
            **{name: _plain(found.value(f"pnol_cache_{name}_total")) for name in CACHE},
            **{name: _plain(found.value(f"pnol_cache_{name}")) for name in HELD},
            "off": sorted(f"{of['model']}/{of['version']}" for of, _ in found.labelled("pnol_cache_off")),
        },
        "abstained": {
            "/".join((of["model"], of["version"], of["action"])): _plain(count)
            for of, count in found.labelled("pnol_abstained_total")
        },
        "stages": _stages(found),
        "resources": {name: _plain(found.value(full)) for name, full in RESOURCES.items() if full in found},
        "gpus": _gpus(found),
    }


def scaling(families: Families, settings: Settings) -> Scaling:
    """What `GET /monitoring/scaling` says of them: seconds are of a worker's time, as they work side by side."""
    found = Summary(families)
    utilisation = _mean(found.by("pnol_engine_utilisation", "worker"))
    workers = max(1.0, found.value("pnol_workers"))
    backlog = found.value("pnol_engine_waiting_seconds") / workers
    window, target = settings.utilisation_window, settings.utilisation_target
    return Scaling(
        queued_cases=int(found.value("pnol_engine_waiting_cases")),
        queue_limit=int(settings.queue_cases * workers),
        backlog_seconds=backlog,
        utilisation=utilisation,
        window_seconds=window,
        utilisation_target=target,
        recommended_replicas=recommended_replicas(utilisation, backlog, window, target),
    )


def _engine(found: Summary) -> dict[str, Any]:
    cases, slots = found.value("pnol_engine_cases_total"), found.value("pnol_engine_slots_total")
    return {
        **{name: _plain(found.value(f"pnol_engine_{name}_total")) for name in ENGINE},
        "waiting": _plain(found.value("pnol_engine_waiting_cases")),
        "waiting_seconds": found.value("pnol_engine_waiting_seconds"),
        "utilisation": _mean(found.by("pnol_engine_utilisation", "worker")),
        "batch_fill": cases / slots if slots else None,
    }


def _stages(found: Summary) -> dict[str, dict[str, float]]:
    """Mean seconds of each stage by version, where there were any."""
    counts = {tuple(of.values()): count for of, count in found.labelled("pnol_stage_seconds_count")}
    means: dict[str, dict[str, float]] = defaultdict(dict)
    for of, total in found.labelled("pnol_stage_seconds_sum"):
        if count := counts[tuple(of.values())]:
            means[f"{of['model']}/{of['version']}"][of["stage"]] = total / count
    return {version: {stage: of[stage] for stage in STAGES if stage in of} for version, of in means.items()}


def _gpus(found: Summary) -> dict[str, dict[str, float]]:
    cards: dict[str, dict[str, float]] = defaultdict(dict)
    for name in GPU_FIGURES:
        for of, value in found.labelled(f"pnol_gpu_{name}"):
            cards[of["gpu"]][name] = value
    return dict(cards)


def _mean(values: dict[str, float]) -> float:
    return sum(values.values()) / len(values) if values else 0.0


def _plain(value: float) -> float | int:
    """Whole numbers as such."""
    return int(value) if value == int(value) else value
