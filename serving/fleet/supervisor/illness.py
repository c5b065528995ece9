"""The rules of healing applied to a fleet: who is held back, who is to be replaced, who is ended."""

from collections.abc import Mapping, Sequence

from serving.fleet.healing import crashes, slow
from serving.fleet.healing.config import HealingConfig
from serving.fleet.healing.crashes import Crashes
from serving.fleet.healing.hang import silent
from serving.fleet.healing.memory import oversized
from serving.fleet.healing.slow import Pace, Record
from serving.fleet.healing.verdict import Verdict
from serving.fleet.replicas.life import Phase, Replica
from serving.fleet.supervisor.watch import Watch


class Illness:
    """What is held against whom."""

    def __init__(self, config: HealingConfig) -> None:
        self.config = config
        self.crashes = Crashes()
        self._records: dict[str, Record] = {}
        self._readings: dict[str, int] = {}

    def verdicts(self, now: float, replicas: Sequence[Replica], watches: Mapping[str, Watch]) -> list[Verdict]:
        """About all that are ready or will be; times are those of the monotonic clock."""
        there = {replica.name: watches[replica.name] for replica in replicas if replica.staying}
        ready = [replica for replica in replicas if replica.phase is Phase.READY]
        self._judge(now, ready, watches)
        for replica in ready:
            if replica.release == max(each.release for each in ready) and replica.ready_at is not None:
                self.crashes = crashes.lasted(self.crashes, now, replica.ready_at, self.config)
        return [
            *silent({name: watch.silence for name, watch in there.items()}, self.config),
            *oversized({replica.name: watches[replica.name].memory for replica in ready}, self.config),
            *slow.ejected(self._records, now, self.config),
        ]

    def ended(self, now: float, ready_at: float | None) -> None:
        """One has ended that nobody asked to end, or had to be ended, or could not be started."""
        self.crashes = crashes.ended(self.crashes, now, ready_at, self.config)

    @property
    def looping(self) -> bool:
        """Whether replicas end again and again."""
        return self.crashes.looping(self.config)

    def _judge(self, now: float, ready: Sequence[Replica], watches: Mapping[str, Watch]) -> None:
        """Compare their pace once for each round of readings."""
        heard = [replica.name for replica in ready if not watches[replica.name].silence.seconds]
        readings = {name: watches[name].readings for name in heard}
        fresh = all(number > self._readings.get(name, 0) for name, number in readings.items())
        if not readings or not fresh:
            return
        self._readings = readings
        self._records = slow.judge({name: _pace(watches[name]) for name in readings}, self._records, now, self.config)


def _pace(watch: Watch) -> Pace:
    """As a caller has it: what a probe waits for an answer, and what a request takes by the replica's own figures.

    A process whose processor is taken away (by a quota, by neighbours) does not notice how long a request lay there.
    """
    figures = watch.figures
    if figures is None or figures.seconds is None:
        return Pace(0.0, 0)
    return Pace((watch.waited or 0.0) + figures.seconds, figures.requests)
