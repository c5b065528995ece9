"""How requests are spread over replicas, and what clients may do: the section `[balancer]` of `fleet.toml`."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from pnol_jax.errors import InputError

Method = Literal["round_robin", "least_connections", "weighted", "performance", "cache", "sticky"]
Count = Annotated[int, Meta(ge=1)]
Natural = Annotated[int, Meta(ge=0)]
Port = Annotated[int, Meta(ge=0, le=65535)]
Seconds = Annotated[float, Meta(gt=0)]
Percent = Annotated[int, Meta(ge=101)]

HEAD_BYTES = 16 * 2**10  # of the buffer: a request's head, and what HAProxy keeps free to change it


class BalancerConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """HAProxy's part of a fleet.

    Methods: `round_robin`, by turns; `least_connections`, where the fewest requests are open; `weighted`, by turns in
    proportion to the servers' shares; `performance`, the fewest open requests for a share that follows what each
    replica says of its queue; `cache`, the same body to the same replica, which has the answer; `sticky`, the same
    client to the same replica, which remembers what it was asked (`POST /feedback` by id).
    """

    host: str = "127.0.0.1"
    port: Port = 8080  # 0: one that is free
    certificate: str = ""  # PEM file of certificate and key: TLS with HTTP/2; '': neither

    method: Method = "least_connections"
    cache_bytes: Count = 32 * 2**10  # of a body that decide where it goes
    cache_overload: Percent = 150  # of the mean of open requests, beyond which another replica is asked
    sticky_header: str = "x-client-id"  # what names a client; without it its address does

    check_seconds: Seconds = 1.0  # between two looks at /health/ready of a replica
    check_again_seconds: Seconds = 0.2  # the same, while it is down or changes
    check_timeout_seconds: Seconds = 2.0
    fall: Count = 2  # looks that failed, after which it is down
    rise: Count = 1  # looks that did not, after which it is up
    connect_errors: Count = 1  # of requests to it, after which it is down without a look
    agent_seconds: Seconds = 0.5  # between two questions for its share (`performance`)
    slow_start_seconds: Annotated[float, Meta(ge=0)] = 2.0  # until one that came has its share; 0: at once

    max_connections: Count = 4096  # of clients
    max_requests: Count = 512  # open at one replica; the others wait
    queue_seconds: Seconds = 5.0  # for which they wait, before 503
    retries: Natural = 2  # by other replicas: where no connection came about; else of predictions and GET alone
    retry_after_seconds: Count = 1  # said with 503

    head_seconds: Seconds = 10.0  # for a client to send a request's head, and as much of its body as is buffered
    client_seconds: Seconds = 30.0  # for which a client takes nothing of its answer
    keep_alive_seconds: Seconds = 30.0  # for the next request
    connect_seconds: Seconds = 0.1  # to reach a replica, and before the only one is tried again
    server_seconds: Seconds = 60.0  # without a sign of a replica or of a body for it; more than its deadline
    drain_seconds: Seconds = 30.0  # for requests under way, once the balancer stops

    threads: Count = 1
    buffer_bytes: Count = 64 * 2**10  # of a request; larger ones are never sent again

    def __post_init__(self) -> None:
        if self.cache_bytes + HEAD_BYTES > self.buffer_bytes:
            most = self.buffer_bytes - HEAD_BYTES
            raise InputError(f"cache_bytes: got {self.cache_bytes}, expected at most {most} of {self.buffer_bytes}")
        if self.slow_start_seconds and self.slow_start_seconds < self.check_seconds:
            raise InputError(
                f"slow_start_seconds: got {self.slow_start_seconds:g}, expected 0 or at least check_seconds, "
                f"{self.check_seconds:g}: shares grow with each look"
            )
