"""Those of the fleet's scaling policies that Kubernetes' formula knows, as external metrics.

Prometheus records each under a name, the adapter of Prometheus tells it to Kubernetes (of concurrency the mean over the
window alone). The others (queue time, latency, forecast, schedule) are of our own supervisor; where they are all that
there is, Kubernetes scales by the load, that is utilisation and backlog, of which `GET /monitoring/scaling` recommends
replicas.
"""

import math
from dataclasses import dataclass
from typing import Any

from serving.fleet.alerts import Watched
from serving.fleet.alerts.state import LOAD, REQUESTS
from serving.fleet.alerts.watched import PREDICTING
from serving.fleet.config import FleetConfig
from serving.fleet.kubernetes.monitors import watched
from serving.fleet.kubernetes.replica import settings as settings_of
from serving.fleet.scaling.config import (
    AnyPolicy,
    ConcurrencyConfig,
    PrometheusConfig,
    RequestsConfig,
    UtilisationConfig,
)
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
    named = zip(fleet.scaling.names(), fleet.scaling.policies, strict=True)
    found = [_external(policy, name, watched(fleet, settings)) for name, policy in named]
    return [of for of in found if of is not None] or [External(LOAD, settings.utilisation_target)]


def _external(policy: AnyPolicy, name: str, about: Watched) -> External | None:
    """The metric of a policy; None: Kubernetes has none of its kind."""
    match policy:
        case UtilisationConfig(target=target):
            return External(LOAD, target)
        case RequestsConfig(per_replica=target):
            return External(REQUESTS, target)
        case ConcurrencyConfig(per_replica=target, window_seconds=window):
            return External(f"pnol:in_flight:{name}", target, query=_in_flight(about, window))
        case PrometheusConfig(query=query, target=target, per_replica=each):
            return External(f"pnol:query:{name}", target, each, query)
        case _:
            return None


def _in_flight(about: Watched, window: float) -> str:
    """The mean number of requests in flight at each replica: rate times duration (Little's law)."""
    seconds = about.select("pnol_request_seconds_sum", endpoint=PREDICTING)
    return f"sum by (instance, namespace) (rate({seconds}[{math.ceil(window)}s]))"


def left_out(fleet: FleetConfig) -> list[str]:
    """The kinds of policies that Kubernetes has none of."""
    about, policies = watched(fleet, settings_of(fleet)), fleet.scaling.policies
    return sorted({str(policy.__struct_config__.tag) for policy in policies if _external(policy, "", about) is None})


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
