"""What is planned, done to the roster; and what the balancer has to know of it."""

from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from serving.fleet.balancer import Server
from serving.fleet.replicas.life import Phase, Replica, drain
from serving.fleet.replicas.spawn import HOST
from serving.fleet.supervisor.decisions import Decisions
from serving.fleet.supervisor.edge import Traffic, Wanted
from serving.fleet.supervisor.plan import Enable, Hold, Leave, Spawn, Step
from serving.fleet.supervisor.roster import Roster


def follow(steps: Iterable[Step], now: float, roster: Roster, decisions: Decisions) -> int:
    """Do what is planned, and give the number of replicas to start."""
    spawns = 0
    for step in steps:
        match step:
            case Enable(name):
                roster.change(replace(roster.replicas[name], serving=True))
                decisions.note("enabled", replica=name)
            case Hold(name):
                roster.change(replace(roster.replicas[name], serving=False))
                decisions.note("held back", replica=name)
            case Leave(name, why):
                roster.change(*drain(roster.replicas[name], now, why))
            case Spawn(count):
                spawns = count
    return spawns


def wanted(replicas: Mapping[str, Replica]) -> Wanted:
    """What the balancer shall do with each replica; those that are not ready it need not know."""
    told = {}
    for name, replica in replicas.items():
        server = Server(name, HOST, replica.port, replica.agent_port)
        if replica.phase is Phase.READY:
            told[name] = server, Traffic.ALL if replica.serving else Traffic.NONE
        elif replica.phase in (Phase.DRAINING, Phase.STOPPING):
            told[name] = server, Traffic.REST
    return told
