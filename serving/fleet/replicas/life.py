"""A replica's life: a state machine without clocks, processes or sockets.

    STARTING ──answers──> WARMING ──ready──> READY ──drain──> DRAINING ──no request is left──> STOPPING ──> GONE
        └────────────────────┴── too late ────┼── stop ──────────────────────────────────────────^
                                              └── ended, from anywhere ──────────────────────────────────────^

`advance` takes what is seen of a replica and gives what it is next and what is to be done on the way there.
"""

import signal
from dataclasses import dataclass
from enum import Enum

import msgspec
from msgspec.structs import replace

from serving.fleet.identity import Identity
from serving.fleet.replicas.config import ReplicasConfig


class Phase(Enum):
    """Where in its life a replica is."""

    STARTING = "starting"
    WARMING = "warming"
    READY = "ready"
    DRAINING = "draining"
    STOPPING = "stopping"
    GONE = "gone"


class Replica(msgspec.Struct, frozen=True):
    """What the book holds of a replica; times are those of the monotonic clock, which all processes share."""

    name: str
    port: int
    identity: Identity
    release: int  # of the settings that it was started with
    spawned: float
    cores: tuple[int, ...] = ()
    agent_port: int | None = None  # where the balancer hears what share of requests it can take
    phase: Phase = Phase.STARTING
    since: float = 0.0  # in this phase
    ready_at: float | None = None
    serving: bool = False  # gets requests
    retiring: str = ""  # why it is to be replaced, as soon as another can take its place
    why: str = ""  # it left

    @property
    def coming(self) -> bool:
        """Whether it is not ready yet."""
        return self.phase in (Phase.STARTING, Phase.WARMING)

    @property
    def staying(self) -> bool:
        """Whether it is ready or will be."""
        return self.coming or self.phase is Phase.READY


@dataclass(frozen=True)
class Seen:
    """What is known of a replica at a moment; `open_requests` as the balancer counts them, None if it does not tell."""

    now: float
    alive: bool = True
    answers: bool = False
    ready: bool = False
    open_requests: int | None = None


@dataclass(frozen=True)
class Send:
    """Send a signal to its process."""

    signal: signal.Signals


@dataclass(frozen=True)
class Note:
    """Something happened to it."""

    event: str
    why: str = ""


Order = Send | Note
Orders = tuple[Order, ...]


def advance(replica: Replica, seen: Seen, config: ReplicasConfig) -> tuple[Replica, Orders]:
    """What it is next, and what to do, in order."""
    if replica.phase is Phase.GONE:
        return replica, ()
    if not seen.alive:
        return _enter(replica, Phase.GONE, seen.now), (Note("ended", replica.why or "by itself"),)
    if replica.coming:
        return _coming(replica, seen, config)
    patience = {Phase.DRAINING: config.drain_seconds, Phase.STOPPING: config.stop_seconds}.get(replica.phase)
    late = patience is not None and seen.now >= replica.since + patience
    if replica.phase is Phase.DRAINING and (late or seen.open_requests == 0):
        return stop(replica, seen.now, replica.why)
    if replica.phase is Phase.STOPPING and late:
        return _enter(replica, Phase.STOPPING, seen.now), (Send(signal.SIGKILL), Note("killed", replica.why))
    return replica, ()


def _coming(replica: Replica, seen: Seen, config: ReplicasConfig) -> tuple[Replica, Orders]:
    if seen.ready:
        why = f"after {seen.now - replica.spawned:.2f} s"
        return replace(_enter(replica, Phase.READY, seen.now), ready_at=seen.now), (Note("ready", why),)
    if seen.now >= replica.spawned + config.start_seconds:
        return stop(replica, seen.now, f"not ready within {config.start_seconds:g} s")
    if seen.answers and replica.phase is Phase.STARTING:
        return _enter(replica, Phase.WARMING, seen.now), ()
    return replica, ()


def drain(replica: Replica, now: float, why: str) -> tuple[Replica, Orders]:
    """Have it leave: at once where it gets no requests yet, else once those under way are answered."""
    if replica.coming:
        return stop(replica, now, why)
    return replace(_enter(replica, Phase.DRAINING, now), serving=False, why=why), (Note("draining", why),)


def stop(replica: Replica, now: float, why: str) -> tuple[Replica, Orders]:
    """Have its process answer what it accepted, and end."""
    stopping = replace(_enter(replica, Phase.STOPPING, now), serving=False, why=why)
    return stopping, (Send(signal.SIGTERM), Note("stopping", why))


def kill(replica: Replica, now: float, why: str) -> tuple[Replica, Orders]:
    """End its process at once."""
    killed = replace(_enter(replica, Phase.STOPPING, now), serving=False, why=why)
    return killed, (Send(signal.SIGKILL), Note("killed", why))


def _enter(replica: Replica, phase: Phase, now: float) -> Replica:
    return replace(replica, phase=phase, since=now, serving=replica.serving and phase is Phase.READY)
