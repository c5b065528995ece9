"""What a fleet is: the schema of `fleet.toml`, with every default; a section stands in the room that it is for."""

import difflib
import os
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from pnol_jax import toml
from pnol_jax.errors import InputError
from serving.fleet.alerts.config import AlertsConfig
from serving.fleet.balancer import BalancerConfig
from serving.fleet.healing.config import HealingConfig
from serving.fleet.kubernetes.config import KubernetesConfig
from serving.fleet.replicas.config import ReplicasConfig
from serving.fleet.replicas.spawn import command
from serving.fleet.scaling import ScalingConfig
from serving.fleet.supervisor.config import SupervisorConfig
from serving.settings import Settings, read_settings
from serving.sources import FILE

Count = Annotated[int, Meta(ge=1)]
Natural = Annotated[int, Meta(ge=0)]
Name = Annotated[str, Meta(pattern=r"^[a-z]([a-z0-9-]{0,30}[a-z0-9])?$")]
OURS = {  # settings of a replica that the fleet gives it, and where a person says what is meant
    "host": "balancer.host",
    "port": "balancer.port",
    "agent_port": "balancer.method = 'performance'",
    "grpc_port": "none: gRPC goes past the balancer",
}


class FleetConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A fleet on one machine; from the same file come the manifests for Kubernetes."""

    name: Name = "pnol"
    serving: dict[str, Any] = {}  # settings of every replica (`serving.settings`), `models` among them
    minimum: Natural = 1  # replicas; 0: none while nobody asks
    maximum: Count | None = None  # none: as many as the machine has cores for
    balancer: BalancerConfig = BalancerConfig()
    replicas: ReplicasConfig = ReplicasConfig()
    scaling: ScalingConfig = ScalingConfig()
    alerts: AlertsConfig = AlertsConfig()
    kubernetes: KubernetesConfig = KubernetesConfig()
    healing: HealingConfig = HealingConfig()
    supervisor: SupervisorConfig = SupervisorConfig()

    def most(self) -> int:
        """The largest number of replicas on this machine."""
        if self.maximum is not None:
            return self.maximum
        return max(1, self.minimum, len(os.sched_getaffinity(0)) // max(1, self.replicas.cores))

    @property
    def asks_agents(self) -> bool:
        """Whether the balancer asks each replica for the share that it can take."""
        return self.balancer.method == "performance"

    def place(self) -> Path:
        """The folder of the fleet."""
        given = self.supervisor.folder or f"~/.local/state/pnol_jax/{self.name}"
        return Path(given).expanduser().resolve()


def read_fleet(path: Path, overrides: tuple[str, ...] = ()) -> FleetConfig:
    """A fleet's config from a TOML file.

    Raises:
        InputError: no such file, an unknown key (with the nearest known one), a value of the wrong type.
    """
    config = toml.load(path, FleetConfig, overrides)
    if config.maximum is not None and config.maximum < config.minimum:
        raise InputError(f"maximum: got {config.maximum}, expected at least minimum, {config.minimum}")
    return config


def check_replicas(config: FleetConfig) -> None:
    """See that a replica would take its settings on this machine.

    Raises:
        InputError: it would not; there is no folder of models; access is guarded and the supervisor has no token.
    """
    for name in OURS.keys() & config.serving.keys():
        raise InputError(f"serving.{name}: every replica has its own, expected {OURS[name]}")
    known = (*Settings.__struct_fields__, FILE)
    for name in sorted(config.serving.keys() - set(known)):
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
        raise InputError(f"serving.{name}: unknown key; did you mean {near[0]!r}?")
    settings = read_settings(command(config.serving, 0, 0 if config.asks_agents else None)[3:])
    if settings.tokens and not config.replicas.token:
        raise InputError(
            "replicas.token: got none, expected a file with a token of scope read, as serving.tokens is set"
        )
