"""What is wrong with which replica, and what is done about it."""

import logging

from msgspec.structs import replace

from pnol_jax.errors import InputError
from serving.fleet.healing.config import HealingConfig
from serving.fleet.healing.verdict import Cure, Verdict
from serving.fleet.replicas.life import Phase, Replica, kill
from serving.fleet.replicas.logs import last_line
from serving.fleet.supervisor.decisions import Decisions
from serving.fleet.supervisor.illness import Illness
from serving.fleet.supervisor.roster import Lost, Roster
from serving.fleet.supervisor.updates import Updates

WRONG_INPUT = 2  # a replica's status where its settings are wrong


class Cures:
    """Looks at the roster and changes it; an end may end an update too."""

    def __init__(self, config: HealingConfig, roster: Roster, updates: Updates, decisions: Decisions) -> None:
        self.illness = Illness(config)
        self.verdicts: dict[str, Verdict] = {}
        self.failures = 0
        self.proven = False  # a replica was ready
        self._held: set[str] = set()  # by a person
        self._starting: set[str] = set()  # those that were said to be
        self._roster, self._updates, self._decisions = roster, updates, decisions

    @property
    def held(self) -> set[str]:
        """Names of those that get no requests as long as another is ready."""
        return {name for name, verdict in self.verdicts.items() if verdict.cure is Cure.HOLD} | self._held

    def hold(self, name: str, held: bool) -> None:
        """A person wants one to get no requests, or some again."""
        (self._held.add if held else self._held.discard)(name)
        self._decisions.note("held" if held else "let go", "said by a person", replica=name)

    def forget(self, name: str) -> None:
        """One that is gone."""
        self._held.discard(name)
        self._starting.discard(name)

    def lose(self, now: float, lost: Lost) -> None:
        """One is lost: its process ended, or it was given up.

        Raises:
            InputError: the very first replicas say that their settings are wrong.
        """
        replica = lost.replica
        if replica.phase in (Phase.DRAINING, Phase.STOPPING):
            return
        if lost.status == WRONG_INPUT and not self.proven:
            raise InputError(last_line(self._roster.log(replica.name)) or "a replica found its input wrong")
        self._fail(now, replica)

    def miss(self, now: float) -> None:
        """One could not be started, as where the machine is out of processes: the next start waits."""
        self._count(now, None)

    def heal(self, now: float) -> None:
        """Act on what is wrong: the hardest cure of each replica counts."""
        found = self._found(now)
        for name, verdict in found.items():
            replica, known = self._roster.replicas[name], self.verdicts.get(name)
            if known is None or known.cure is not verdict.cure:
                self._decisions.note(f"ill ({verdict.cure.value})", verdict.why, logging.WARNING, replica=name)
                self.verdicts[name] = verdict
            if verdict.cure is Cure.KILL:
                self._roster.change(*kill(replica, now, verdict.why))
                self._fail(now, replica)
            elif verdict.cure is Cure.RETIRE and not replica.retiring:
                self._roster.change(replace(replica, retiring=verdict.why))
        staying = {name for name, replica in self._roster.replicas.items() if replica.staying}
        for name in (self.verdicts.keys() - found.keys()) & staying:
            self._decisions.note("well again", replica=name)
        self.verdicts = found

    def _found(self, now: float) -> dict[str, Verdict]:
        found: dict[str, Verdict] = {}
        for verdict in self.illness.verdicts(now, list(self._roster.replicas.values()), self._roster.watches):
            if verdict.cure is Cure.HOLD and self._roster.replicas[verdict.name].coming:
                self._wait(verdict)
                continue
            before = found.get(verdict.name)
            if before is None or list(Cure).index(verdict.cure) > list(Cure).index(before.cure):
                found[verdict.name] = verdict
        return found

    def _wait(self, verdict: Verdict) -> None:
        """One is silent that gets no requests yet: while it compiles it may miss a probe, and is not ill."""
        if verdict.name not in self._starting:
            self._starting.add(verdict.name)
            self._decisions.note("starting", verdict.why, replica=verdict.name)

    def _fail(self, now: float, replica: Replica) -> None:
        """One has ended by itself, or had to be ended: the next start waits, or an update ends."""
        self._count(now, replica.ready_at)
        self._updates.failed(replica, last_line(self._roster.log(replica.name)))

    def _count(self, now: float, ready_at: float | None) -> None:
        looping = self.illness.looping
        self.failures += 1
        self.illness.ended(now, ready_at)
        if self.illness.looping and not looping:
            row = self.illness.crashes.row
            self._decisions.note(
                "crash loop", f"{row} replicas in a row ended soon or could not be started", logging.ERROR
            )
