"""What is kept of grids is bounded by what it takes."""

import numpy as np
import pytest

from serving.engine.operands import OperandStore
from serving.ladder import Ladder
from serving.places import Places, nbytes
from serving.recent import Recent
from tests import heat


def test_what_was_used_longest_ago_makes_room_and_the_newest_always_stays() -> None:
    recent = Recent[str](10)
    for name in "abc":
        recent.put(name, name.upper(), 3)
    assert recent.get("a") == "A"
    recent.put("d", "D", 3)
    assert [recent.get(name) for name in "abcd"] == ["A", None, "C", "D"]
    assert (len(recent), recent.bytes) == (3, 9)
    recent.put("large", "LARGE", 100)
    assert (len(recent), recent.bytes, recent.get("large")) == (1, 100, "LARGE")
    recent.put("e", "E", 1)
    assert (len(recent), recent.bytes, recent.get("e")) == (1, 1, "E")


@pytest.mark.parametrize("room", [1, 3])
def test_operands_are_made_once_while_there_is_room_for_them(ladder: Ladder, room: int) -> None:
    grids = [[axis.points for axis in heat.grid(9, points).axes] for points in (9, 10, 11)]
    one = nbytes(Places(ladder.servable).of(grids[0]).operands)
    places, store = Places(ladder.servable, room * one), OperandStore(2 * room * one)
    first = [places.of(grid) for grid in grids]
    made = [store.stacked([place], 2) for place in first]
    kept = [places.of(grid) is place for grid, place in zip(grids, first, strict=True)]
    again = [store.stacked([place], 2) for place in first]
    assert kept == [room == 3] * 3
    assert [old is new for old, new in zip(made, again, strict=True)] == kept
    for place, operands in zip(first, again, strict=True):
        for name, array in operands.items():
            np.testing.assert_array_equal(array, np.stack([place.operands[name]] * 2))
