"""What is kept is what was computed, or it is computed again."""

import os
from pathlib import Path

import numpy as np
import pytest

from pnol_jax import cache as module
from pnol_jax.cache import Arrays, Cache


class Work:
    """Something that counts how often it is done."""

    def __init__(self, size: int = 4) -> None:
        self.done = 0
        self.size = size

    def __call__(self) -> Arrays:
        self.done += 1
        return {"values": np.arange(self.size, dtype=np.float64), "index": np.arange(3, dtype=np.int32)}


def test_what_was_computed_once_is_read_the_next_time(tmp_path: Path) -> None:
    work, cache = Work(), Cache(tmp_path / "kept")
    first, again = cache.get("a", work), cache.get("a", work)
    assert work.done == 1
    for name, value in first.items():
        np.testing.assert_array_equal(again[name], value)
        assert again[name].dtype == value.dtype
    cache.get("b", work)
    assert work.done == 2


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty"])
def test_a_damaged_entry_is_computed_again_and_replaced(tmp_path: Path, damage: str) -> None:
    work, cache = Work(), Cache(tmp_path)
    cache.get("a", work)
    (file,) = tmp_path.iterdir()
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes({"flipped": bytes(content), "cut": bytes(content[:-1]), "empty": b""}[damage])
    np.testing.assert_array_equal(cache.get("a", work)["values"], np.arange(4))
    assert work.done == 2
    cache.get("a", work)
    assert work.done == 2
    assert len(list(tmp_path.iterdir())) == 1


def test_what_was_not_used_for_longest_makes_room(tmp_path: Path) -> None:
    work = Work(1000)
    Cache(tmp_path).get("measure", work)
    size = next(tmp_path.iterdir()).stat().st_size
    cache = Cache(tmp_path / "bounded", largest=2 * size + 1)
    for age, key in ((30, "a"), (20, "b")):
        cache.get(key, work)
        file = next(cache.folder.glob(f"{key}-*"))
        os.utime(file, (file.stat().st_atime - age, file.stat().st_mtime - age))
    cache.get("a", work)  # read: now the youngest
    cache.get("c", work)
    assert sorted(file.name[0] for file in cache.folder.iterdir()) == ["a", "c"]
    cache.get("large", Work(3000))
    assert sorted(file.name[0] for file in cache.folder.iterdir()) == ["a", "c"]


def test_a_full_disk_costs_the_entry_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_path: Path, _data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "write_atomically", full)
    work = Work()
    np.testing.assert_array_equal(Cache(tmp_path).get("a", work)["values"], np.arange(4))
    assert list(tmp_path.iterdir()) == []
