"""Those of the fleet's scaling policies that Kubernetes' formula knows, as external metrics.

Prometheus records each under a name, the adapter of Prometheus tells it to Kubernetes. The others (queue time, latency,
forecast, schedule) are of our own supervisor; where they are all that there is, Kubernetes scales by the load, that is
utilisation and backlog, of which `GET /monitoring/scaling` recommends replicas.
"""

from dataclasses import dataclass
from typing import Any

from serving.fleet.alerts.state import LOAD, REQUESTS
from serving.fleet.config import FleetConfig
from serving.fleet.kubernetes.monitors import watched
from serving.fleet.kubernetes.replica import settings as settings_of
from serving.fleet.scaling.config import PrometheusConfig, RequestsConfig, UtilisationConfig
from serving.settings import Settings


@dataclass(frozen=True)
class External:
    """A metric: recorded as `series`, of which the sum is held against the target, or against that of each replica."""

    series: str
    target: float
    each: bool = True
    query: str | None = None  # what is recorded, where no rule of the alerts does

    @property
    def name(self) -> str:
        """As Kubernetes knows it."""
        return self.series.replace(":", "_")


def externals(fleet: FleetConfig, settings: Settings) -> list[External]:
    """The metrics of the autoscaler, at least one."""
    found = []
    for number, policy in enumerate(fleet.scaling.policies):
        match policy:
            case UtilisationConfig(target=target):
                found.append(External(LOAD, target))
            case RequestsConfig(per_replica=target):
                found.append(External(REQUESTS, target))
            case PrometheusConfig(query=query, target=target, per_replica=each):
                found.append(External(f"pnol:query:{policy.name or number}", target, each, query))
    return found or [External(LOAD, settings.utilisation_target)]


def left_out(fleet: FleetConfig) -> list[str]:
    """The kinds of policies that Kubernetes has none of."""
    known = (UtilisationConfig, RequestsConfig, PrometheusConfig)
    return sorted({str(p.__struct_config__.tag) for p in fleet.scaling.policies if not isinstance(p, known)})


def kept(fleet: FleetConfig) -> list[str]:
    """What Kubernetes scales by, in its own names."""
    names = [of.name for of in externals(fleet, settings_of(fleet))]
    return [*names, "cpu"] if fleet.kubernetes.cpu_percent else names


def recorded(fleet: FleetConfig, settings: Settings) -> list[dict[str, Any]]:
    """Rules that record the queries of policies."""
    about = watched(fleet, settings)
    return [about.record(of.series, of.query) for of in externals(fleet, settings) if of.query]


def adapter(fleet: FleetConfig) -> dict[str, Any]:
    """Values of the chart of Prometheus' adapter, which tells Kubernetes the metrics."""
    settings = settings_of(fleet)
    rules = {
        "external": [
            {
                "seriesQuery": watched(fleet, settings).select(of.series),
                "resources": {"overrides": {"namespace": {"resource": "namespace"}}},
                "name": {"as": of.name},
                "metricsQuery": "sum(<<.Series>>{<<.LabelMatchers>>})",
            }
            for of in externals(fleet, settings)
        ]
    }
    return {"rules": rules}
