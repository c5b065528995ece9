"""What the supervisor tells of its fleet."""

import time
from typing import Any

from prometheus_client import generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from serving.fleet.replicas.life import Phase, Replica
from serving.fleet.supervisor.supervisor import Supervisor


def scaling(fleet: Supervisor) -> dict[str, Any]:
    """What `GET /monitoring/scaling` says: the number, why, and what was decided lately."""
    scale = fleet.scale
    return {
        "current": sum(replica.serving for replica in fleet.roster.replicas.values()),
        "desired": scale.desired,
        "spares": scale.spares,
        "minimum": scale.minimum,
        "maximum": scale.maximum,
        "bounds": scale.bounds,
        "decision": scale.decision,
        "decisions": list(fleet.decisions.recent),
    }


def fleet(fleet: Supervisor) -> dict[str, Any]:
    """What `GET /monitoring/fleet` says: each replica, the balancer, and what is wrong."""
    return {
        "name": fleet.config.name,
        "time": time.time(),
        "release": fleet.updates.release.number,
        "updating_from": None if fleet.updates.before is None else fleet.updates.before.number,
        "replicas": [_replica(fleet, replica) for replica in fleet.roster.replicas.values()],
        "balancer": fleet.edge.figures,
        "starts": fleet.roster.names,
        "failures": fleet.cures.failures,
        "crash_loop": fleet.cures.illness.looping,
        "disk_full": fleet.disk.full,
        "desired": fleet.scale.desired,
        "spares": fleet.scale.spares,
        "reason": fleet.scale.decision.reason,
        "decisions": list(fleet.decisions.recent)[-20:],
    }


def balancer(fleet: Supervisor) -> dict[str, Any]:
    """What `GET /load_balancer` says."""
    config = fleet.config.balancer
    return {
        "url": fleet.edge.balancer.url,
        "method": config.method,
        "outdated": fleet.edge.balancer.outdated,
        "figures": fleet.edge.figures,
        "servers": fleet.edge.servers,
        "shares_hold": "until their replica is replaced: the next one has a whole share",
    }


def metrics(fleet: Supervisor) -> bytes:
    """What `GET /monitoring/metrics` says, for Prometheus."""
    return generate_latest(_Figures(fleet))


def _replica(fleet: Supervisor, replica: Replica) -> dict[str, Any]:
    watch, verdict = fleet.roster.watches[replica.name], fleet.cures.verdicts.get(replica.name)
    now, server = time.monotonic(), fleet.edge.servers.get(replica.name)
    return {
        "name": replica.name,
        "pid": replica.identity.pid,
        "port": replica.port,
        "cores": replica.cores,
        "release": replica.release,
        "phase": replica.phase.value,
        "serving": replica.serving,
        "seconds": now - replica.spawned,
        "phase_seconds": now - replica.since,
        "weight": None if server is None else server.effective_share,
        "silent_seconds": watch.silence.seconds,
        "ill": "" if verdict is None else verdict.why,
        "retiring": replica.retiring,
        "figures": watch.figures,
    }


class _Figures(Collector):
    def __init__(self, fleet: Supervisor) -> None:
        self._fleet = fleet

    def collect(self) -> list[Metric]:
        fleet, replicas = self._fleet, self._fleet.roster.replicas.values()
        phases = GaugeMetricFamily("pnol_fleet_replicas", "Replicas by phase of their life.", labels=["phase"])
        for phase in Phase:
            phases.add_metric([phase.value], sum(replica.phase is phase for replica in replicas))
        gauges = {
            "serving": ("Replicas that get requests.", sum(replica.serving for replica in replicas)),
            "desired": ("Replicas that should get requests.", fleet.scale.desired),
            "ill": ("Replicas with which something is wrong.", len(fleet.cures.verdicts)),
            "crash_loop": ("1 while replicas end again and again.", fleet.cures.illness.looping),
            "crashes_in_a_row": (
                "Replicas that ended soon or could not be started, one after the other.",
                fleet.cures.illness.crashes.row,
            ),
            "disk_full": ("1 while the fleet's disk has too little room.", fleet.disk.full),
            "updating": ("1 while a release replaces another.", fleet.updates.before is not None),
        }
        counters = {
            "starts": ("Replicas that were started, by all supervisors of this folder.", fleet.roster.names),
            "balancer_starts": ("Times that this supervisor found or started a balancer.", fleet.edge.starts),
            "failures": (
                "Replicas that ended by themselves, had to be ended, or could not be started.",
                fleet.cures.failures,
            ),
            "rollbacks": ("Releases that did not become ready.", fleet.updates.rollbacks),
        }
        return [
            phases,
            *(GaugeMetricFamily(f"pnol_fleet_{name}", text, float(value)) for name, (text, value) in gauges.items()),
            *(CounterMetricFamily(f"pnol_fleet_{name}", text, value) for name, (text, value) in counters.items()),
        ]
