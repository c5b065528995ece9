"""The HorizontalPodAutoscaler (autoscaling/v2): our metrics, and the fleet's own limits on how fast it follows."""

import math
from typing import Any

from pnol_jax.errors import InputError
from serving.fleet.config import FleetConfig
from serving.fleet.kubernetes.policies import External, externals
from serving.fleet.kubernetes.workload import Manifest, head
from serving.fleet.scaling.config import RulesConfig, StepConfig
from serving.settings import Settings

TOLERANCE = 0.1  # Kubernetes' own, where a rule gives none
LONGEST_WINDOW, LONGEST_PERIOD = 3600, 1800  # seconds, of the API


def autoscaler(fleet: FleetConfig, settings: Settings) -> Manifest:
    """Between the fleet's minimum and maximum.

    Raises:
        InputError: limits that Kubernetes cannot keep.
    """
    if not fleet.minimum:
        raise InputError("minimum: got 0, expected at least 1: in Kubernetes only an alpha gate scales to none")
    if fleet.maximum is None:
        raise InputError("maximum: got none, expected a number: a cluster has more cores than this machine")
    scaling = fleet.scaling
    return {
        **head(fleet, "autoscaling/v2", "HorizontalPodAutoscaler"),
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": fleet.name},
            "minReplicas": fleet.minimum,
            "maxReplicas": fleet.maximum,
            "metrics": [*(_metric(fleet, of) for of in externals(fleet, settings)), *_processors(fleet)],
            "behavior": {
                "scaleUp": _rules(scaling.up, "scaling.up", StepConfig("pods", fleet.maximum)),
                "scaleDown": _rules(scaling.down, "scaling.down", StepConfig("percent", 100)),
            },
        },
    }


def _metric(fleet: FleetConfig, of: External) -> dict[str, Any]:
    kind = {"type": "AverageValue", "averageValue": quantity(of.target)}
    whole = {"type": "Value", "value": quantity(of.target)}
    metric = {"name": of.name, "selector": {"matchLabels": {"job": fleet.name}}}
    return {"type": "External", "external": {"metric": metric, "target": kind if of.each else whole}}


def _processors(fleet: FleetConfig) -> list[dict[str, Any]]:
    """The share of their cores, for work that no engine's figure knows: reading and writing of many small answers."""
    if not (percent := fleet.kubernetes.cpu_percent):
        return []
    target = {"type": "Utilization", "averageUtilization": percent}
    return [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]


def quantity(value: float) -> str:
    """A number as Kubernetes writes it, in thousandths, of which it knows none smaller."""
    return f"{max(1, round(value * 1000))}m"


def _rules(rules: RulesConfig, key: str, unlimited: StepConfig) -> dict[str, Any]:
    """One direction; without steps everything is reached in one, which Kubernetes would limit by itself."""
    if rules.window_seconds > LONGEST_WINDOW:
        raise InputError(f"{key}.window_seconds: got {rules.window_seconds:g}, expected at most {LONGEST_WINDOW}")
    found: dict[str, Any] = {
        "stabilizationWindowSeconds": math.ceil(rules.window_seconds),
        "selectPolicy": rules.select.capitalize(),
        "policies": [_step(step, f"{key}.steps") for step in rules.steps or [unlimited]],
    }
    return found if rules.tolerance == TOLERANCE else {**found, "tolerance": quantity(rules.tolerance)}


def _step(step: StepConfig, key: str) -> dict[str, Any]:
    if step.period_seconds > LONGEST_PERIOD:
        raise InputError(f"{key}: got a period of {step.period_seconds:g} s, expected at most {LONGEST_PERIOD}")
    return {"type": step.type.capitalize(), "value": step.value, "periodSeconds": math.ceil(step.period_seconds)}
