"""A server of the balancer, and how HAProxy writes it."""

from typing import Literal

import msgspec

from serving.fleet.balancer.config import BalancerConfig

WEIGHT = 100  # of a whole share, so that an agent's percentages are whole numbers
LARGEST = 256  # of HAProxy's weights
Admin = Literal["ready", "drain", "maint"]


class Server(msgspec.Struct, frozen=True):
    """A replica as the balancer knows it; `share` of requests, where the method is `weighted`, beside the others'."""

    name: str
    host: str
    port: int
    agent_port: int | None = None
    share: float = 1.0

    @property
    def address(self) -> str:
        """HOST:PORT."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Held(msgspec.Struct):
    """A server that HAProxy has, and all that a new HAProxy would have to be told of it.

    `id`: its place on the ring of `cache` and `sticky`, which a successor inherits.
    """

    server: Server
    id: int
    share: float = 1.0
    admin: Admin = "ready"


def words(held: Held, config: BalancerConfig) -> str:
    """What follows a server's name, in the file and in `add server`."""
    server = held.server
    parts = [server.address, f"id {held.id}", f"weight {weight_of(held.share)}", f"maxconn {config.max_requests}"]
    parts += [
        f"check inter {milliseconds(config.check_seconds)}",
        f"fastinter {milliseconds(config.check_again_seconds)} downinter {milliseconds(config.check_again_seconds)}",
        f"fall {config.fall} rise {config.rise}",
        f"observe layer4 error-limit {config.connect_errors} on-error mark-down",
    ]
    if config.slow_start_seconds:
        parts.append(f"slowstart {milliseconds(config.slow_start_seconds)}")
    if has_agent(server, config):
        every = milliseconds(config.agent_seconds)
        parts.append(f"agent-check agent-addr {server.host} agent-port {server.agent_port} agent-inter {every}")
    return " ".join(parts)


def has_agent(server: Server, config: BalancerConfig) -> bool:
    """Whether the server is asked for its share."""
    return config.method == "performance" and server.agent_port is not None


def weight_of(share: float) -> int:
    """HAProxy's weight; whatever is more than nothing stays so."""
    return max(1, round(share * WEIGHT)) if share > 0 else 0


def milliseconds(seconds: float) -> str:
    """As HAProxy reads times."""
    return f"{max(1, round(1000 * seconds))}ms"
