"""A pod: one process of the service, that may do nothing else."""

import math
from typing import Any

from serving.fleet.config import FleetConfig
from serving.fleet.kubernetes.config import ClaimSource, HostSource
from serving.fleet.kubernetes.replica import CACHE, MODELS, SCRATCH, TOKENS, environment
from serving.settings import Settings

LIVE, READY = "/health/live", "/health/ready"
LOOKS = 4  # of the liveness probe within `stall_seconds`
END_SECONDS = 15  # beyond draining: the process gives its workers ten


def pod(fleet: FleetConfig, settings: Settings) -> dict[str, Any]:
    """The spec of a pod."""
    config = fleet.kubernetes
    spec: dict[str, Any] = {
        "serviceAccountName": fleet.name,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,  # they would be variables with the prefix of the settings
        "terminationGracePeriodSeconds": config.leave_seconds + settings.drain_seconds + END_SECONDS,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": config.user,
            "runAsGroup": config.user,
            "fsGroup": config.user,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "topologySpreadConstraints": _spread(fleet),
        "containers": [_container(fleet, settings)],
        "volumes": _volumes(fleet),
    }
    if config.pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in config.pull_secrets]
    return spec


def labels(fleet: FleetConfig) -> dict[str, str]:
    """By which the fleet's pods are found."""
    return {"app.kubernetes.io/name": "pnol", "app.kubernetes.io/instance": fleet.name}


def ports(fleet: FleetConfig, settings: Settings) -> dict[str, int]:
    """By name: that of HTTP, and of gRPC where it is served."""
    return {"http": fleet.kubernetes.port} | ({} if settings.grpc_port is None else {"grpc": settings.grpc_port})


def _container(fleet: FleetConfig, settings: Settings) -> dict[str, Any]:
    config = fleet.kubernetes
    gpus = {"nvidia.com/gpu": str(config.gpus)} if config.gpus else {}
    resources = {"cpu": config.cpu, "memory": config.memory, **gpus}
    every = max(1, math.floor(settings.stall_seconds / LOOKS))
    tries = math.ceil(config.start_seconds / config.probe_seconds)
    return {
        "name": "serving",
        "image": config.image,
        "env": [{"name": name, "value": value} for name, value in sorted(environment(fleet).items())],
        "ports": [{"name": name, "containerPort": port} for name, port in ports(fleet, settings).items()],
        "resources": {"requests": resources, "limits": resources},
        "startupProbe": _probe(LIVE, config.probe_seconds, tries),
        "livenessProbe": _probe(LIVE, every, LOOKS),
        "readinessProbe": _probe(READY, config.probe_seconds, config.probe_failures),
        "lifecycle": {"preStop": {"sleep": {"seconds": config.leave_seconds}}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": _mounts(fleet),
    }


def _probe(path: str, every: int, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": "http"},
        "periodSeconds": every,
        "timeoutSeconds": every,
        "failureThreshold": failures,
    }


def _spread(fleet: FleetConfig) -> list[dict[str, Any]]:
    """Over zones where that can be, over nodes."""
    nodes = "DoNotSchedule" if fleet.kubernetes.spread_nodes else "ScheduleAnyway"
    wanted = {"topology.kubernetes.io/zone": "ScheduleAnyway", "kubernetes.io/hostname": nodes}
    return [
        {
            "maxSkew": 1,
            "topologyKey": key,
            "whenUnsatisfiable": otherwise,
            "labelSelector": {"matchLabels": labels(fleet)},
            "matchLabelKeys": ["pod-template-hash"],  # so that pods of the release before do not count
        }
        for key, otherwise in wanted.items()
    ]


def _volumes(fleet: FleetConfig) -> list[dict[str, Any]]:
    config = fleet.kubernetes
    match config.models:
        case ClaimSource(claim=claim):
            models: dict[str, Any] = {"persistentVolumeClaim": {"claimName": claim, "readOnly": True}}
        case HostSource(path=path):
            models = {"hostPath": {"path": path, "type": "Directory"}}
        case image:
            models = {"image": {"reference": image.reference}}
    found: list[dict[str, Any]] = [
        {"name": "models", **models},
        {"name": "cache", "emptyDir": {"sizeLimit": config.cache_disk}},
        {"name": "scratch", "emptyDir": {"sizeLimit": config.scratch_disk}},
    ]
    if config.tokens_secret:
        found.append({"name": "tokens", "secret": {"secretName": config.tokens_secret}})
    return found


def _mounts(fleet: FleetConfig) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"name": "models", "mountPath": MODELS, "readOnly": True},
        {"name": "cache", "mountPath": CACHE},
        {"name": "scratch", "mountPath": SCRATCH},
    ]
    if fleet.kubernetes.tokens_secret:
        found.append({"name": "tokens", "mountPath": TOKENS.rpartition("/")[0], "readOnly": True})
    return found
