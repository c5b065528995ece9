"""What the Prometheus operator takes: where figures are, what is told of them, the dashboard."""

import json
from typing import Any

from serving.fleet.alerts import Watched, dashboard, rules
from serving.fleet.config import FleetConfig
from serving.fleet.kubernetes.pod import labels
from serving.fleet.kubernetes.workload import Manifest, head
from serving.settings import Settings

API = "monitoring.coreos.com/v1"
FIGURES = "/monitoring/metrics"


def watched(fleet: FleetConfig, settings: Settings) -> Watched:
    """The fleet as Prometheus knows it: the operator names the job after the Service."""
    known = {"job": fleet.name, "namespace": fleet.kubernetes.namespace}
    return Watched(known, fleet.alerts, settings, fleet.minimum, fleet.maximum)


def service_monitor(fleet: FleetConfig) -> Manifest:
    """Every pod's figures, with the token of a Secret where there is one."""
    config = fleet.kubernetes
    endpoint: dict[str, Any] = {"port": "http", "path": FIGURES, "interval": f"{config.scrape_seconds}s"}
    if config.scrape_secret:
        endpoint["authorization"] = {"credentials": {"name": config.scrape_secret, "key": "token"}}
    spec = {"selector": {"matchLabels": labels(fleet)}, "endpoints": [endpoint]}
    return _labelled(fleet, {**head(fleet, API, "ServiceMonitor"), "spec": spec})


def prometheus_rule(fleet: FleetConfig, settings: Settings) -> Manifest:
    """The rules of `serving.fleet.alerts`."""
    return _labelled(fleet, {**head(fleet, API, "PrometheusRule"), "spec": rules(watched(fleet, settings))})


def dashboards(fleet: FleetConfig, settings: Settings) -> Manifest:
    """A ConfigMap with the label by which the sidecar of Grafana's chart finds dashboards."""
    found = head(fleet, "v1", "ConfigMap")
    found["metadata"] = {**found["metadata"], "name": f"{fleet.name}-dashboard"}
    found["metadata"]["labels"] = {**labels(fleet), "grafana_dashboard": "1"}
    return {**found, "data": {f"{fleet.name}.json": json.dumps(dashboard(watched(fleet, settings)))}}


def _labelled(fleet: FleetConfig, manifest: Manifest) -> Manifest:
    manifest["metadata"]["labels"] = {**labels(fleet), **fleet.kubernetes.monitor_labels}
    return manifest
