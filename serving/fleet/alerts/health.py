"""What is told beside the objectives: drift, crash loops, saturation, replicas that are missing, a full disk."""

from typing import Any

from serving.fleet.alerts.state import CALIBRATION_DRIFT, INPUT_DRIFT, LOAD, QUEUE, READY
from serving.fleet.alerts.watched import Watched

MINUTES = 10  # that a ticket waits, as what heals itself is none


def alerts(watched: Watched) -> list[dict[str, Any]]:
    """All of them, for this fleet."""
    found = [*_replicas(watched), *_crashes(watched), *_saturation(watched), *_drift(watched), *_resources(watched)]
    return [*found, *_supervised(watched)] if watched.supervised else found


def _replicas(watched: Watched) -> list[dict[str, Any]]:
    ready, hold = watched.select(READY), watched.config.hold_seconds
    unseen = watched.alert(
        "ReplicaUnseen",
        f"{watched.select('up')} == 0",
        "ticket",
        "{{ $labels.instance }} does not tell its figures",
        hold=MINUTES * 60,
    )
    if not watched.minimum:  # none is no fault
        return [unseen]
    return [
        watched.alert("NoReplicaReady", f"{ready} == 0", "page", "no replica answers", hold=hold),
        watched.alert(
            "ReplicasMissing",
            f"{ready} < {watched.minimum}",
            "ticket",
            f"{{{{ $value }}}} replicas are ready, of at least {watched.minimum}",
            hold=hold + MINUTES * 60,
        ),
        unseen,
    ]


def _crashes(watched: Watched) -> list[dict[str, Any]]:
    config = watched.config
    window = f"[{config.restart_minutes}m]"
    restarts = f"sum by (instance) (resets({watched.select('process_cpu_seconds_total')}{window}))"
    workers = f"sum by (instance) (increase({watched.select('pnol_worker_starts_total')}{window}))"
    summary = f"{{{{ $labels.instance }}}} started {{{{ $value }}}} times again in {config.restart_minutes} minutes"
    expression = f"({restarts} >= {config.restarts}) or ({workers} >= {config.restarts})"
    return [watched.alert("CrashLoop", expression, "page", summary)]


def _saturation(watched: Watched) -> list[dict[str, Any]]:
    config, deadline = watched.config, watched.settings.deadline_seconds
    found = [
        watched.alert(
            "QueueNearDeadline",
            f"{watched.select(QUEUE)} > {config.queue_share * deadline:g}",
            "page",
            f"{{{{ $labels.instance }}}} has work for {{{{ $value }}}} s, requests end after {deadline:g} s",
            hold=config.hold_seconds,
        ),
        watched.alert(
            "QueueFull",
            f"sum by (instance) (rate({watched.select('pnol_engine_refused_total')}[5m])) > 0",
            "ticket",
            "{{ $labels.instance }} refuses {{ $value }} requests a second",
            hold=config.hold_seconds,
        ),
    ]
    if watched.maximum is None:
        return found
    wanted = f"sum({watched.select(LOAD)}) / {watched.settings.utilisation_target:g}"
    summary = f"the load is that of {{{{ $value }}}} replicas, at most {watched.maximum} are allowed"
    at_most = watched.alert(
        "TooFewReplicasAllowed", f"{wanted} > {watched.maximum}", "ticket", summary, hold=MINUTES * 60
    )
    return [*found, at_most]


def _drift(watched: Watched) -> list[dict[str, Any]]:
    about = "of {{ $labels.model }}/{{ $labels.version }}"
    limit = watched.config.drift_p
    return [
        watched.alert(
            "InputDrift",
            f"{watched.select(INPUT_DRIFT)} < {limit:g}",
            "ticket",
            f"inputs {about} set off more alarms than calibration explains (p {{{{ $value }}}})",
        ),
        watched.alert(
            "CoverageDrift",
            f"{watched.select(CALIBRATION_DRIFT)} < {limit:g}",
            "ticket",
            f"intervals {about} at level {{{{ $labels.level }}}} cover less than they state (p {{{{ $value }}}})",
        ),
    ]


def _resources(watched: Watched) -> list[dict[str, Any]]:
    config, hold = watched.config, watched.config.hold_seconds
    held = f"sum by (instance) ({watched.select('process_resident_memory_bytes')})"
    limit = f"max by (instance) ({watched.select('pnol_machine_memory_limit_bytes')})"
    free = f"{watched.select('pnol_disk_free_bytes')} / {watched.select('pnol_disk_bytes')}"
    return [
        watched.alert(
            "MemoryNearLimit",
            f"{held} / {limit} > {config.memory_share:g}",
            "page",
            "{{ $labels.instance }} holds {{ $value | humanizePercentage }} of the memory it may have",
            hold=hold,
        ),
        watched.alert(
            "DiskNearlyFull",
            f"{free} < {config.disk_share:g}",
            "ticket",
            "{{ $labels.instance }} has {{ $value | humanizePercentage }} of its disk for compiled programs left",
            hold=hold,
        ),
    ]


def _supervised(watched: Watched) -> list[dict[str, Any]]:
    """What the supervisor tells: its replicas come back with other ports, so that their own figures show no restart."""
    loops, full = watched.select("pnol_fleet_crash_loop"), watched.select("pnol_fleet_disk_full")
    back = watched.select("pnol_fleet_rollbacks_total")
    return [
        watched.alert("FleetCrashLoop", f"{loops} == 1", "page", "replicas end again and again before they are ready"),
        watched.alert("FleetDiskFull", f"{full} == 1", "page", "the disk of the fleet's folder is full"),
        watched.alert("ReleaseRolledBack", f"increase({back}[1h]) > 0", "ticket", "a release did not become ready"),
    ]
