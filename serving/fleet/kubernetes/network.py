"""Who may speak with a pod, and with whom it may: everything else is refused."""

from typing import Any
from urllib.parse import urlsplit

from serving.fleet.config import FleetConfig
from serving.fleet.kubernetes.pod import labels, ports
from serving.fleet.kubernetes.workload import Manifest, head
from serving.settings import Settings

NAMESPACE = "kubernetes.io/metadata.name"  # which every namespace has
DNS = 53


def network_policy(fleet: FleetConfig, settings: Settings) -> Manifest:
    """In: callers, and Prometheus to the port that tells figures. Out: names, and traces where they are sent."""
    config = fleet.kubernetes
    open_ports = ports(fleet, settings)
    callers = [_namespace(name) for name in config.callers] or [{"podSelector": {}}]
    outward = [{"to": [_namespace(config.dns)], "ports": [_port(DNS, "UDP"), _port(DNS)]}]
    if settings.traces:
        outward.append({"to": [_namespace(config.monitoring)], "ports": [_port(_port_of(settings.traces))]})
    return {
        **head(fleet, "networking.k8s.io/v1", "NetworkPolicy"),
        "spec": {
            "podSelector": {"matchLabels": labels(fleet)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [
                {"from": callers, "ports": [_port(port) for port in open_ports.values()]},
                {"from": [_namespace(config.monitoring)], "ports": [_port(open_ports["http"])]},
            ],
            "egress": outward,
        },
    }


def _namespace(name: str) -> dict[str, Any]:
    return {"namespaceSelector": {"matchLabels": {NAMESPACE: name}}}


def _port(number: int, protocol: str = "TCP") -> dict[str, Any]:
    return {"port": number, "protocol": protocol}


def _port_of(url: str) -> int:
    parts = urlsplit(url)
    return parts.port or (443 if parts.scheme == "https" else 80)
