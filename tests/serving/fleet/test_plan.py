"""Who comes and who goes: from any beginning to what is wanted, with as many ready all the while."""

import random
from collections.abc import Iterable
from itertools import count

import pytest
from msgspec.structs import replace

from serving.fleet.identity import Identity
from serving.fleet.replicas.life import Phase, Replica
from serving.fleet.supervisor.plan import Enable, Hold, Leave, Spawn, Wish, plan

READY, WARMING = Phase.READY, Phase.WARMING


def replica(name: str, phase: Phase = READY, serving: bool = False, release: int = 1, **more: object) -> Replica:
    made = Replica(name, 1, Identity(1, 1), release, float(name[1:]), phase=phase, serving=serving)
    return replace(made, **more)


def test_a_fleet_begins_with_all_that_are_wanted_as_far_as_they_may_start() -> None:
    assert plan([], (), Wish(2, 1, 1, startable=5)) == (Spawn(3),)
    assert plan([], (), Wish(2, 1, 1, startable=2)) == (Spawn(2),)
    assert plan([], (), Wish(2, 1, 1, startable=0)) == ()
    assert plan([], (), Wish(0, 0, 1, startable=5)) == ()


def test_a_spare_takes_over_at_once_and_another_is_started() -> None:
    fleet = [replica("r1", Phase.GONE), replica("r2", serving=True), replica("r3")]
    assert plan(fleet, (), Wish(2, 1, 1, 5)) == (Enable("r3"), Spawn(1))


def test_who_is_ill_is_held_back_while_another_is_well() -> None:
    fleet = [replica("r1", serving=True), replica("r2", serving=True), replica("r3")]
    assert plan(fleet, {"r1"}, Wish(2, 1, 1, 5)) == (Enable("r3"), Hold("r1"))
    pair = fleet[:2]
    assert plan(pair, {"r1"}, Wish(2, 0, 1, 5)) == (Hold("r1"),)
    assert plan(pair, {"r1", "r2"}, Wish(2, 0, 1, 5)) == ()  # better than nobody
    held = [replica("r1"), replica("r2", serving=True)]
    assert plan(held, (), Wish(2, 0, 1, 5)) == (Enable("r1"),)


def test_fewer_are_wanted_the_youngest_that_waits_leaves_first() -> None:
    fleet = [replica("r1", serving=True), replica("r2", serving=True), replica("r3"), replica("r4", WARMING)]
    why = "fewer are wanted"
    assert plan(fleet, (), Wish(2, 1, 1, 5)) == (Leave("r4", why),)
    assert plan(fleet, (), Wish(2, 0, 1, 5)) == (Leave("r4", why), Leave("r3", why))
    assert plan(fleet[:2], (), Wish(1, 0, 1, 5)) == (Leave("r2", why),)


def test_an_update_replaces_one_at_a_time_once_another_is_ready() -> None:
    fleet, names = [replica("r1", serving=True), replica("r2", serving=True)], count(3)
    steps, wish = [], Wish(2, 0, 2, 5)
    for _ in range(20):
        fleet = applied(fleet, done := plan(fleet, (), wish), names, wish)
        steps += [step for step in done if not isinstance(step, Hold)]
        assert sum(each.serving for each in fleet) == 2
        assert sum(each.staying for each in fleet) <= 3
        fleet = [replace(each, phase=READY) if each.coming else each for each in fleet]
    assert [type(step) for step in steps] == [Spawn, Enable, Leave, Spawn, Enable, Leave]
    assert {each.name for each in fleet} == {"r3", "r4"}


def test_one_that_retires_is_replaced_in_the_same_way() -> None:
    fleet = [replica("r1", serving=True, retiring="memory"), replica("r2", serving=True)]
    assert plan(fleet, (), Wish(2, 0, 1, 5)) == (Spawn(1),)
    assert plan([*fleet, replica("r3", WARMING)], (), Wish(2, 0, 1, 5)) == ()
    assert plan([*fleet, replica("r3")], (), Wish(2, 0, 1, 5)) == (Enable("r3"), Leave("r1", "memory"))


def test_a_release_that_was_rolled_back_leaves_before_it_is_ready() -> None:
    fleet = [replica("r1", serving=True), replica("r2", WARMING, release=2)]
    assert plan(fleet, (), Wish(1, 0, 1, 5)) == (Leave("r2", "replaced by release 1"),)


@pytest.mark.parametrize("seed", range(200))
def test_whatever_there_is_it_comes_to_what_is_wanted_and_rests(seed: int) -> None:
    chance = random.Random(seed)
    names = count(1)
    fleet = [
        replica(f"r{next(names)}", phase, phase is READY and chance.random() < 0.5, chance.choice((1, 2)))
        for phase in chance.choices([READY, WARMING, Phase.DRAINING], k=chance.randrange(7))
    ]
    wish = Wish(chance.randrange(4), chance.randrange(3), 2, chance.randrange(1, 4))
    least = min(wish.desired, sum(each.phase is READY for each in fleet))
    for _ in range(40):
        fleet = applied(fleet, plan(fleet, (), wish), names, wish)
        assert sum(each.serving for each in fleet) >= least  # of those that were ready none is missed
        fleet = [replace(each, phase=READY) if each.coming and chance.random() < 0.5 else each for each in fleet]
    fleet = [replace(each, phase=READY) if each.coming else each for each in fleet]
    for _ in range(3):
        fleet = applied(fleet, plan(fleet, (), wish), names, wish)
    staying = [each for each in fleet if each.staying]
    assert len(staying) == wish.desired + wish.spares
    assert sum(each.serving for each in staying) == wish.desired
    assert {each.release for each in staying} <= {2}
    assert plan(fleet, (), wish) == ()


def applied(fleet: Iterable[Replica], steps: Iterable[object], names: Iterable[int], wish: Wish) -> list[Replica]:
    """What becomes of a fleet; whoever leaves is gone at once."""
    after = {each.name: each for each in fleet}
    for step in steps:
        match step:
            case Enable(name):
                after[name] = replace(after[name], serving=True)
            case Hold(name):
                after[name] = replace(after[name], serving=False)
            case Leave(name, _):
                del after[name]
            case Spawn(number):
                for _ in range(number):
                    made = replica(f"r{next(iter(names))}", Phase.STARTING, release=wish.release)
                    after[made.name] = made
    return list(after.values())
