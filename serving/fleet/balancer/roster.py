"""The servers that HAProxy has: added, drained, weighed and removed while it runs."""

import time
from collections.abc import Iterable, Sequence

from pnol_jax.errors import InputError
from serving.fleet.balancer import figures
from serving.fleet.balancer.config import BalancerConfig
from serving.fleet.balancer.figures import ServerState
from serving.fleet.balancer.render import REPLICAS
from serving.fleet.balancer.runtime import CommandError, Runtime
from serving.fleet.balancer.server import LARGEST, WEIGHT, Admin, Held, Server, has_agent, weight_of, words

CLOSING = 1.0  # seconds for the connections of a server that is removed to close


class Roster:
    """What HAProxy was told of each server, so that the next one can be told the same.

    All raise Unreachable where HAProxy is not there or stands still, and CommandError where it refuses (such as a name
    that it does not know).
    """

    def __init__(self, config: BalancerConfig, runtime: Runtime) -> None:
        self.config = config
        self._runtime = runtime
        self._held: dict[str, Held] = {}

    def servers(self) -> dict[str, ServerState]:
        """Every server as HAProxy sees it."""
        return figures.servers(self._runtime)

    def add(self, server: Server) -> None:
        """Send requests to one more server, which answers already: it is asked before its first check.

        Raises:
            InputError: it has no agent, and the method needs one.
        """
        held = self._new(server, self._held.values())
        self._runtime.act(f"add server {_of(server.name)} {words(held, self.config)}", "New server registered")
        self._runtime.act(f"enable health {_of(server.name)}")
        self._set(server.name, "ready")
        if has_agent(server, self.config):  # after that: until an agent has spoken, its server would be down
            self._runtime.act(f"enable agent {_of(server.name)}")
        self._held[server.name] = held

    def drain(self, name: str) -> None:
        """Send it no more requests; those that are open go on."""
        self._set(name, "drain")
        self._held[name].admin = "drain"

    def disable(self, name: str) -> None:
        """The same, and check it no more."""
        self._set(name, "maint")
        self._held[name].admin = "maint"

    def abandon(self, name: str) -> None:
        """The same, and wait for it no more: what could be sent again is sent to another, other requests break off."""
        self.disable(name)
        self._runtime.act(f"shutdown sessions server {_of(name)}")

    def enable(self, name: str) -> None:
        """Send it requests again."""
        self._set(name, "ready")
        self._held[name].admin = "ready"

    def weight(self, name: str, share: float) -> None:
        """Its share of requests beside the others', 1 being a whole one; its agent is not asked while it has another.

        Raises:
            InputError: less than nothing, or more than HAProxy can say.
        """
        if not 0 <= share <= LARGEST / WEIGHT:
            raise InputError(f"share of {name}: got {share:g}, expected 0 to {LARGEST / WEIGHT:g}")
        self._runtime.act(f"disable agent {_of(name)}")
        self._runtime.act(f"set weight {_of(name)} {weight_of(share)}")
        held = self._held[name]
        if share == 1 and has_agent(held.server, self.config):
            self._runtime.act(f"enable agent {_of(name)}")
        held.share = share

    def remove(self, name: str) -> None:
        """Forget a server; requests that are open there break off, so drain it first.

        Raises:
            CommandError: it is not there, or its connections do not close.
        """
        self._set(name, "maint")
        self._runtime.act(f"disable agent {_of(name)}")
        end = time.monotonic() + CLOSING
        while not self._removed(name, time.monotonic() > end):
            time.sleep(0.002)
        self._held.pop(name, None)

    def recount(self) -> dict[str, ServerState]:
        """Every server as HAProxy sees it, and known here as that: an answer that was lost leaves open what was done.

        One of which it is not known how far it got is removed, so that it can be added anew.
        """
        found = self.servers()
        for name in found.keys() - self._held.keys():
            self.remove(name)
            del found[name]
        for name in self._held.keys() - found.keys():
            del self._held[name]
        for name, state in found.items():
            self._held[name].admin = state.admin
        return found

    def _removed(self, name: str, last: bool) -> bool:
        self._runtime.act(f"shutdown sessions server {_of(name)}")
        try:
            self._runtime.act(f"del server {_of(name)}", "Server deleted")
        except CommandError:
            if last:
                raise
            return False
        return True

    def _begin(self, servers: Sequence[Server]) -> None:
        """With these alone; those that were there before keep their place, share and state."""
        before, self._held = self._held, {}
        for server in servers:
            old = before.get(server.name)
            kept = old is not None and old.server == server
            new = old if old is not None and kept else self._new(server, (*before.values(), *self._held.values()))
            self._held[server.name] = new

    def _told(self) -> None:
        """Say what a config file cannot; one that drains was closed there, which HAProxy would not forget."""
        for name, held in self._held.items():
            if held.admin == "drain":
                self._runtime.act(f"set server {_of(name)} state ready; set server {_of(name)} state drain")

    def _take(self, servers: Sequence[Server]) -> None:
        """Take over the servers of a HAProxy that runs, and add those that it lacks."""
        for name, state in self.servers().items():
            if name not in self._held:
                share = 1.0 if state.agent_asked else state.share  # what an agent said is for now
                server = Server(name, state.host, state.port, state.agent_port)
                self._held[name] = Held(server, state.id, share, state.admin)
        for server in servers:
            known = self._held.get(server.name)
            if known is not None and known.server.address != server.address:
                self.remove(server.name)
            if server.name in self._held:
                self._held[server.name].server = server
            else:
                self.add(server)

    def _new(self, server: Server, others: Iterable[Held]) -> Held:
        """With the first place that is free, so that a successor gets what went to the one before."""
        if self.config.method == "performance" and server.agent_port is None:
            raise InputError(f"server {server.name}: has no agent_port, expected one with method 'performance'")
        taken = {held.id for held in others}
        free = next(number for number in range(1, len(taken) + 2) if number not in taken)
        return Held(server, free, server.share if self.config.method == "weighted" else 1.0)

    def _set(self, name: str, admin: Admin) -> None:
        self._runtime.act(f"set server {_of(name)} state {admin}")


def _of(name: str) -> str:
    return f"{REPLICAS}/{name}"
