"""Manifests for Kubernetes from the config of a fleet."""
