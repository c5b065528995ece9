"""What runs and how it is reached: Deployment, Service, PodDisruptionBudget, ServiceAccount."""

from typing import Any

from serving.fleet.config import FleetConfig
from serving.fleet.kubernetes.pod import labels, pod, ports
from serving.settings import Settings

Manifest = dict[str, Any]


def head(fleet: FleetConfig, api: str, kind: str) -> Manifest:
    """What every manifest begins with."""
    metadata = {"name": fleet.name, "namespace": fleet.kubernetes.namespace, "labels": labels(fleet)}
    return {"apiVersion": api, "kind": kind, "metadata": metadata}


def deployment(fleet: FleetConfig, settings: Settings) -> Manifest:
    """Pods; how many, the autoscaler says, so that applying this again changes nothing of that."""
    selector = labels(fleet)
    return {
        **head(fleet, "apps/v1", "Deployment"),
        "spec": {
            "selector": {"matchLabels": selector},
            "progressDeadlineSeconds": fleet.kubernetes.start_seconds + settings.drain_seconds,
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxUnavailable": 0, "maxSurge": fleet.kubernetes.surge},
            },
            "template": {"metadata": {"labels": selector}, "spec": pod(fleet, settings)},
        },
    }


def service(fleet: FleetConfig, settings: Settings) -> Manifest:
    """One address for the pods that are ready."""
    protocols = {"http": "http", "grpc": "kubernetes.io/h2c"}
    offered = [
        {"name": name, "port": port, "targetPort": name, "appProtocol": protocols[name]}
        for name, port in ports(fleet, settings).items()
    ]
    return {**head(fleet, "v1", "Service"), "spec": {"selector": labels(fleet), "ports": offered}}


def disruption_budget(fleet: FleetConfig) -> Manifest:
    """Nodes are emptied one pod at a time; pods that do not answer anyway hold up nobody."""
    spec = {
        "maxUnavailable": 1,
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
        "selector": {"matchLabels": labels(fleet)},
    }
    return {**head(fleet, "policy/v1", "PodDisruptionBudget"), "spec": spec}


def service_account(fleet: FleetConfig) -> Manifest:
    """A name without rights: pods get no token of it."""
    return {**head(fleet, "v1", "ServiceAccount"), "automountServiceAccountToken": False}
