"""The supervisor itself: the section `supervisor` of `fleet.toml`, with every default."""

from typing import Annotated

import msgspec
from msgspec import Meta

Seconds = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(ge=1)]
Port = Annotated[int, Meta(ge=0, le=65535)]


class SupervisorConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Times in seconds."""

    folder: str = ""  # of the book, logs and sockets of this fleet; '': ~/.local/state/pnol_jax/NAME
    host: str = "127.0.0.1"  # that its own service listens on
    port: Port | None = 8081  # of it; 0: one that is free, named in the ready line; none: no service
    tokens: str = ""  # file of bearer tokens' hashes (serving.tokens) for it; '': those of `serving.tokens`, if any
    tick: Seconds = 0.1  # between looks at the fleet; the end of a process is noticed at once
    balancer_interval: Seconds = 0.5  # between readings of the balancer's figures
    balancer_stall: Seconds = 2.0  # without an answer of the balancer, after which it is started anew
    decisions_kept: Count = 100  # that are shown; all stand in decisions.jsonl
    decisions_bytes: Count = 16 * 2**20  # of that file, after which it is begun anew
