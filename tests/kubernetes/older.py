"""Manifests as Kubernetes 1.20 knows them, which is what can be built from Debian; all else is left as it is written.

What a newer one would do by fields that 1.20 lacks is not tried here: it drops `matchLabelKeys`, `tolerance` and
`unhealthyPodEvictionPolicy` by itself.
"""

import copy
from typing import Any

VERSIONS = {"autoscaling/v2": "autoscaling/v2beta2", "policy/v1": "policy/v1beta1"}
OPERATORS = "monitoring.coreos.com/v1"  # whose resources no server knows without the Prometheus operator


def older(manifests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those that the server itself knows."""
    return [_older(each) for each in manifests if each["apiVersion"] != OPERATORS]


def _older(manifest: dict[str, Any]) -> dict[str, Any]:
    found = copy.deepcopy(manifest)
    found["apiVersion"] = VERSIONS.get(found["apiVersion"], found["apiVersion"])
    if found["kind"] == "Deployment":
        [container] = found["spec"]["template"]["spec"]["containers"]
        end = container["lifecycle"]["preStop"]
        seconds = end.pop("sleep")["seconds"]  # known from 1.29 on; the image has no program that sleeps
        end["exec"] = {"command": ["python", "-c", f"import time; time.sleep({seconds})"]}
    return found
