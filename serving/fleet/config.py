"""What a fleet is: the schema of `fleet.toml`, with every default; a section stands in the room that it is for."""

from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from pnol_jax import toml
from pnol_jax.errors import InputError
from serving.fleet.balancer.config import BalancerConfig

Count = Annotated[int, Meta(ge=1)]
Natural = Annotated[int, Meta(ge=0)]
Name = Annotated[str, Meta(pattern=r"^[a-z]([a-z0-9-]{0,30}[a-z0-9])?$")]


class FleetConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A fleet on one machine; from the same file come the manifests for Kubernetes."""

    name: Name = "pnol"
    serving: dict[str, Any] = {}  # settings of every replica (`serving.settings`), `models` among them
    minimum: Natural = 1  # replicas; 0: none while nobody asks
    maximum: Count | None = None  # none: as many as the machine has cores
    balancer: BalancerConfig = BalancerConfig()


def read_fleet(path: Path, overrides: tuple[str, ...] = ()) -> FleetConfig:
    """A fleet's config from a TOML file.

    Raises:
        InputError: no such file, an unknown key (with the nearest known one), a value of the wrong type.
    """
    config = toml.load(path, FleetConfig, overrides)
    if config.maximum is not None and config.maximum < config.minimum:
        raise InputError(f"maximum: got {config.maximum}, expected at least minimum, {config.minimum}")
    return config
