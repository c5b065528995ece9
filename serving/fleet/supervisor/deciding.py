"""When the balancer's figures are read and the number of replicas decided anew."""

from serving.fleet.config import FleetConfig
from serving.fleet.replicas.life import Phase
from serving.fleet.supervisor.decisions import Decisions
from serving.fleet.supervisor.edge import Edge
from serving.fleet.supervisor.observe import observe
from serving.fleet.supervisor.queries import Queries
from serving.fleet.supervisor.roster import Roster
from serving.fleet.supervisor.scale import Scale
from serving.fleet.supervisor.steps import wanted


class Deciding:
    """Of one loop; times are those of the monotonic clock."""

    def __init__(self, config: FleetConfig, edge: Edge, roster: Roster, scale: Scale, decisions: Decisions) -> None:
        self._tick, self._reading = config.supervisor.tick, config.supervisor.balancer_interval
        self._interval = config.scaling.interval_seconds
        self._edge, self._roster, self._scale, self._decisions = edge, roster, scale, decisions
        self._queries = Queries(config.scaling, self._interval, decisions)
        self._looked = self._decided = float("-inf")

    def begin(self) -> None:
        """Ask what has to be asked beside the loop."""
        self._queries.begin()

    def close(self) -> None:
        """Ask no more."""
        self._queries.close()

    async def decide(self, now: float) -> None:
        """Read what is due, at each look while a replica waits for its last request; decide if that is due."""
        draining = any(replica.phase is Phase.DRAINING for replica in self._roster.replicas.values())
        if now - self._looked >= (self._tick if draining else self._reading):
            await self._edge.look(wanted(self._roster))
            self._looked = now
        if now - self._decided >= self._interval:
            self._decided = now
            seen = observe(self._scale.desired, self._roster, self._edge.figures, self._queries.values)
            if self._scale.decide(seen):
                made = self._scale.decision
                self._decisions.note("scale", made.reason, desired=made.desired, before=made.before)
