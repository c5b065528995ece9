"""Manifests for Kubernetes from the config of a fleet."""

from serving.fleet.kubernetes.config import KubernetesConfig
from serving.fleet.kubernetes.manifests import manifests, monitoring

__all__ = ["KubernetesConfig", "manifests", "monitoring"]
