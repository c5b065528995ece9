"""How a replica runs, and how it is asked how it is."""

from typing import Annotated

import msgspec
from msgspec import Meta

Natural = Annotated[int, Meta(ge=0)]
Count = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0)]


class ReplicasConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Times in seconds."""

    cores: Natural = 1  # of the machine, for each replica; 0: all of them, shared by all
    starting: Count = 2  # at once; more would take each other's cores while they compile
    start_seconds: Seconds = 120.0  # until one answers; after that it is given up
    drain_seconds: Seconds = 30.0  # for the requests under way at one that leaves
    stop_seconds: Seconds = 35.0  # from SIGTERM to SIGKILL
    probe_interval: Seconds = 0.1  # between an answer to a probe and the next probe
    probe_deadline: Seconds = 0.5  # for an answer; the first one that is missed takes a replica out of the balancer
    figures_interval: Seconds = 1.0  # between readings of a replica's figures
    token: str = ""  # file that holds a bearer token with scope read, where `serving.tokens` is set
    log_bytes: Count = 16 * 2**20  # of a replica's output, after which its file is begun anew
    log_files: Natural = 2  # older ones that are kept
    environment: dict[str, str] = {}  # variables beside those of the supervisor
