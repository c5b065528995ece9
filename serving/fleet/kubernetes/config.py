"""How a fleet runs in Kubernetes: the section `kubernetes` of `fleet.toml`."""

from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

Count = Annotated[int, Meta(ge=1)]
Natural = Annotated[int, Meta(ge=0)]
Percent = Annotated[int, Meta(ge=0, le=100)]
Text = Annotated[str, Meta(min_length=1)]
Name = Annotated[str, Meta(pattern=r"^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$")]
Path = Annotated[str, Meta(pattern=r"^/.*[^/]$")]
Quantity = Annotated[str, Meta(pattern=r"^\d+(\.\d+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$")]
Port = Annotated[int, Meta(ge=1, le=65535)]


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="name"):
    """Where a pod finds the folder of models, which it may only read."""


class ClaimSource(Source, frozen=True, kw_only=True, tag="claim"):
    """A PersistentVolumeClaim that exists, of a class that many nodes may read."""

    claim: Name


class ImageSource(Source, frozen=True, kw_only=True, tag="image"):
    """An image that holds NAME/VERSION/ and is mounted as it is (Kubernetes 1.35; before, where its gate is on)."""

    reference: Text


class HostSource(Source, frozen=True, kw_only=True, tag="host"):
    """A folder of every node; refused where pods must keep to the baseline of the pod security standards."""

    path: Path


AnySource: TypeAlias = ClaimSource | ImageSource | HostSource


class KubernetesConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the manifests say beside what follows from the fleet and from the service's settings."""

    image: str = ""  # of the service; required for manifests
    pull_secrets: tuple[Name, ...] = ()
    namespace: Name = "default"
    models: AnySource = ClaimSource(claim="models")
    tokens_secret: Name | None = None  # a Secret with the key tokens.toml, where the service asks for tokens
    scrape_secret: Name | None = None  # a Secret with the key token, of scope read, that Prometheus sends then

    port: Port = 8080  # of pods and of the Service
    callers: tuple[Name, ...] = ()  # namespaces whose pods may ask; none: those of its own
    monitoring: Name = "monitoring"  # namespace of Prometheus, and of the collector of traces
    dns: Name = "kube-system"  # namespace of the cluster's name service

    cpu: Quantity = "2"  # asked for and allowed, so that whole cores can be a pod's own
    memory: Quantity = "4Gi"  # likewise
    cpu_percent: Percent = 0  # of `cpu`, from which on there are to be more pods, whatever else; 0: not asked
    gpus: Natural = 0
    cache_disk: Quantity = "2Gi"  # for compiled programs
    scratch_disk: Quantity = "256Mi"  # for /tmp
    user: Count = 10001  # and group, of the process

    start_seconds: Count = 300  # until the process answers its probes, and until a new pod is ready
    probe_seconds: Count = 2  # between two probes of readiness
    probe_failures: Count = 3  # in a row, from which on a pod gets no more requests
    leave_seconds: Count = 5  # from a pod's end being known until SIGTERM, as routes still lead to it
    surge: Count = 1  # pods beyond those wanted during a rolling update
    spread_nodes: bool = False  # true: a pod waits rather than share a node with more of them than need be

    scrape_seconds: Count = 15
    monitor_labels: dict[str, str] = {}  # by which the Prometheus operator finds monitor and rules
