"""The settings of a replica in a pod: the fleet's own, and those that a pod decides."""

import json
from typing import Any

import msgspec

from pnol_jax import toml
from pnol_jax.errors import InputError
from serving.fleet.config import FleetConfig
from serving.settings import Settings
from serving.sources import variable

MODELS, CACHE, SCRATCH = "/models", "/cache", "/tmp"  # of a container, all that it can see of disks
TOKENS = "/tokens/tokens.toml"


def settings(fleet: FleetConfig) -> Settings:
    """What the process will be set to.

    Raises:
        InputError: a setting that is none, or that no pod can have.
    """
    found = toml.parse({**fleet.serving, **_placed(fleet)}, Settings, "serving")
    if found.grpc_port in (0, found.port):
        raise InputError(f"serving.grpc_port: got {found.grpc_port}, expected a port other than {found.port}")
    if fleet.serving.get("tokens") and fleet.kubernetes.tokens_secret is None:
        raise InputError("kubernetes.tokens_secret: got none, expected a Secret, as serving.tokens is set")
    return found


def environment(fleet: FleetConfig) -> dict[str, str]:
    """The variables that set it so; what is default is left to the image."""
    given = {**fleet.serving, **_placed(fleet)}
    return {variable(name): _text(value) for name, value in given.items()} | {"HOME": SCRATCH}


def _placed(fleet: FleetConfig) -> dict[str, Any]:
    config = fleet.kubernetes
    placed = {"models": MODELS, "host": "0.0.0.0", "port": config.port, "executables": f"{CACHE}/executables"}
    return placed | ({"tokens": TOKENS} if config.tokens_secret else {})


def _text(value: Any) -> str:
    """As `serving.sources` reads it."""
    return value if isinstance(value, str) else json.dumps(msgspec.to_builtins(value))
