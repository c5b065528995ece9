"""Python's collector does not go through all that is loaded while requests wait."""

import gc

from serving.process import settle


def test_what_is_loaded_is_frozen_and_garbage_is_not() -> None:
    class Node:
        other: "Node"

    held = [Node() for _ in range(1000)]
    gone = Node()
    gone.other = gone  # only the collector can free it
    del gone
    try:
        settle()
        frozen = gc.get_freeze_count()
        assert frozen > 1000
        assert len(gc.get_objects()) < 0.01 * frozen
        assert len(held) == 1000
        held.clear()
        settle()
        assert gc.get_freeze_count() < frozen
    finally:
        gc.unfreeze()
