"""Replicas that are slower than the others: outlier ejection.

Each is compared with the median of the others, so that load which slows all of them ejects none.
"""

import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import inf

from serving.fleet.healing.config import HealingConfig
from serving.fleet.healing.verdict import Cure, Verdict


@dataclass(frozen=True)
class Pace:
    """How long a request took at a replica, in the mean of a reading, and of how many."""

    seconds: float
    requests: int


@dataclass(frozen=True)
class Record:
    """What is held against a replica: slow readings in a row, how often it was ejected, and until when."""

    slow: int = 0
    times: int = 0
    until: float = -inf
    why: str = ""


Records = Mapping[str, Record]


def judge(paces: Mapping[str, Pace], records: Records, now: float, config: HealingConfig) -> dict[str, Record]:
    """The records after a reading of those that are ready; who is not among them is forgotten.

    Of those that would be ejected the slowest are, as far as the share goes.
    """
    kept = {name: _look(name, paces, records.get(name, Record()), config) for name in paces}
    room = int(config.eject_share * len(paces)) - sum(record.until > now for record in kept.values())
    due = [name for name, record in kept.items() if record.slow >= config.slow_looks and record.until <= now]
    for name in sorted(due, key=lambda name: -paces[name].seconds)[: max(0, room)]:
        kept[name] = _eject(kept[name], now, config)
    return kept


def ejected(records: Records, now: float, config: HealingConfig) -> Iterator[Verdict]:
    """Those that get no requests for now, and those that have been ejected too often."""
    for name, record in records.items():
        if record.times > config.eject_times:
            yield Verdict(name, Cure.RETIRE, f"slow again after {config.eject_times} times out: {record.why}")
        elif record.until > now:
            yield Verdict(name, Cure.HOLD, f"slow: {record.why}")


def _look(name: str, paces: Mapping[str, Pace], record: Record, config: HealingConfig) -> Record:
    mine = paces[name]
    others = [pace.seconds for other, pace in paces.items() if other != name and pace.requests >= config.slow_requests]
    if mine.requests < config.slow_requests or not others:
        return record
    usual = statistics.median(others)
    if mine.seconds <= max(config.slow_factor * usual, usual + config.slow_seconds):
        return replace(record, slow=0)
    why = f"{1e3 * mine.seconds:.1f} ms a request, the others {1e3 * usual:.1f}"
    return replace(record, slow=record.slow + 1, why=why)


def _eject(record: Record, now: float, config: HealingConfig) -> Record:
    seconds = min(config.eject_longest, config.eject_seconds * 2.0 ** min(record.times, 60))
    return replace(record, slow=0, times=record.times + 1, until=now + seconds)
