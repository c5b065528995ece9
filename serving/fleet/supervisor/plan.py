"""Who gets requests, who comes and who goes: a pure function of what there is and what is wanted.

    wanted = desired + spares replicas; while some are to be replaced, one more

Replicas that are to be replaced (of another release, or retiring) leave one by one, each once another is ready in its
place; so an update, a leak of memory and a smaller fleet are one rule.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from serving.fleet.replicas.life import Phase, Replica


@dataclass(frozen=True)
class Wish:
    """How many replicas shall get requests, how many wait, of which release; `startable` more may start now."""

    desired: int
    spares: int
    release: int
    startable: int


@dataclass(frozen=True)
class Spawn:
    """Start so many replicas."""

    count: int


@dataclass(frozen=True)
class Enable:
    """Let one have requests."""

    name: str


@dataclass(frozen=True)
class Hold:
    """Let one have no requests; it stays ready."""

    name: str


@dataclass(frozen=True)
class Leave:
    """Let one answer what it has and end."""

    name: str
    why: str


Step = Spawn | Enable | Hold | Leave


def plan(replicas: Sequence[Replica], held: Collection[str], wish: Wish) -> tuple[Step, ...]:
    """What to do now, in order: whoever takes over comes before whoever leaves.

    `held`: names of those that are ill and get no requests as long as another is ready.
    """
    staying = [replica for replica in replicas if replica.staying]
    leaving = _leaving(staying, held, wish)
    chosen = _chosen(staying, held, {leave.name for leave in leaving}, wish)
    enable = [Enable(replica.name) for replica in staying if replica.name in chosen and not replica.serving]
    gone = {leave.name for leave in leaving} | chosen
    hold = [Hold(replica.name) for replica in staying if replica.serving and replica.name not in gone]
    return (*enable, *hold, *leaving, *_coming(staying, leaving, wish))


def stale(replica: Replica, wish: Wish) -> bool:
    """Whether it is to be replaced."""
    return replica.release != wish.release or bool(replica.retiring)


def _chosen(staying: Sequence[Replica], held: Collection[str], leaving: Collection[str], wish: Wish) -> set[str]:
    """Who gets requests: of those that are well, if any is, else of all that are ready."""
    ready = [replica for replica in staying if replica.phase is Phase.READY and replica.name not in leaving]
    well = [replica for replica in ready if replica.name not in held]
    best = sorted(well or ready, key=lambda replica: (stale(replica, wish), not replica.serving, replica.spawned))
    return {replica.name for replica in best[: wish.desired]}


def _leaving(staying: Sequence[Replica], held: Collection[str], wish: Wish) -> list[Leave]:
    """Those that come too many, at once; of those that are ready as many as others are ready in their place."""
    wanted = wish.desired + wish.spares
    coming = [replica for replica in staying if replica.coming]
    ready = [replica for replica in staying if replica.phase is Phase.READY]
    well = sum(replica.name not in held for replica in ready)
    useless = [replica for replica in coming if stale(replica, wish)]
    room = wanted + _surge(staying, wish) - len(ready)
    fresh = [replica for replica in coming if not stale(replica, wish)]
    useless += fresh[max(0, room) :]
    first = sorted(ready, key=lambda replica: _precedence(replica, held, wish))
    parting: list[Replica] = []
    for replica in first[: max(0, len(ready) - wanted)]:
        well -= replica.name not in held
        if well < wish.desired and replica.name not in held:
            break
        parting.append(replica)
    return [Leave(replica.name, _why(replica, wish)) for replica in (*useless, *parting)]


def _precedence(replica: Replica, held: Collection[str], wish: Wish) -> tuple[bool, bool, bool, float]:
    """Who leaves first: who is to be replaced, who is ill, who waits, and the youngest."""
    return not stale(replica, wish), replica.name not in held, replica.serving, -replica.spawned


def _coming(staying: Sequence[Replica], leaving: Sequence[Leave], wish: Wish) -> list[Spawn]:
    parting = {leave.name for leave in leaving}
    there = [replica for replica in staying if replica.name not in parting]
    missing = wish.desired + wish.spares + _surge(there, wish) - len(there)
    count = min(missing, wish.startable)
    return [Spawn(count)] if count > 0 else []


def _surge(staying: Sequence[Replica], wish: Wish) -> int:
    """One more while some that are ready are to be replaced; nothing has to be kept up where nothing is wanted."""
    replaced = any(stale(replica, wish) for replica in staying if replica.phase is Phase.READY)
    return int(replaced and wish.desired + wish.spares > 0)


def _why(replica: Replica, wish: Wish) -> str:
    if replica.retiring:
        return replica.retiring
    return f"replaced by release {wish.release}" if replica.release != wish.release else "fewer are wanted"
