"""All manifests of a fleet by the names of their files."""

from collections.abc import Mapping

from pnol_jax.errors import InputError
from serving.fleet.config import FleetConfig
from serving.fleet.kubernetes import monitors
from serving.fleet.kubernetes.autoscaler import autoscaler
from serving.fleet.kubernetes.network import network_policy
from serving.fleet.kubernetes.policies import recorded
from serving.fleet.kubernetes.replica import settings as settings_of
from serving.fleet.kubernetes.workload import Manifest, deployment, disruption_budget, service, service_account
from serving.settings import Settings

OPERATORS = ("ServiceMonitor", "PrometheusRule")  # of the operator, whose schemas kubernetes-validate has not


def manifests(fleet: FleetConfig) -> dict[str, Manifest]:
    """By name.

    Raises:
        InputError: what the config says cannot be had in Kubernetes.
    """
    if not fleet.kubernetes.image:
        raise InputError("kubernetes.image: got none, expected the image of the service")
    settings = settings_of(fleet)
    return {
        "service-account": service_account(fleet),
        "network-policy": network_policy(fleet, settings),
        "deployment": deployment(fleet, settings),
        "service": service(fleet, settings),
        "autoscaler": autoscaler(fleet, settings),
        "disruption-budget": disruption_budget(fleet),
        "service-monitor": monitors.service_monitor(fleet),
        "rules": _rules(fleet, settings),
        "dashboard": monitors.dashboards(fleet, settings),
    }


def _rules(fleet: FleetConfig, settings: Settings) -> Manifest:
    """With those that record what policies ask."""
    manifest = monitors.prometheus_rule(fleet, settings)
    if asked := recorded(fleet, settings):
        manifest["spec"]["groups"].append({"name": f"{fleet.name}-policies", "rules": asked})
    return manifest


def check(found: Mapping[str, Manifest]) -> None:
    """Hold them against their schemas, where kubernetes-validate is installed.

    Raises:
        InputError: one is malformed.
    """
    try:
        import kubernetes_validate as schemas
    except ImportError:
        return
    for name, manifest in found.items():
        if manifest["kind"] in OPERATORS:
            continue
        try:
            schemas.validate(manifest, schemas.latest_version(), strict=True)
        except schemas.ValidationError as error:
            raise InputError(f"manifest {name}: {'.'.join(map(str, error.path))}: {error.message}") from None
