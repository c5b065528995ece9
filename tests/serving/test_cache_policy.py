"""S3-FIFO does what its paper says, written as plainly as can be, and never holds more than its bytes."""

from dataclasses import dataclass

import numpy as np
import pytest

from serving.cache.key import Key
from serving.cache.policy import Policy
from serving.cache.s3fifo import S3FIFO


@dataclass
class Entry:
    key: Key
    size: int
    hits: int = 0


def total(entries: list[Entry]) -> int:
    return sum(entry.size for entry in entries)


class Plain:
    """The same by lists, oldest first."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.small: list[Entry] = []
        self.main: list[Entry] = []
        self.ghost: list[Entry] = []

    def keys(self) -> set[Key]:
        return {entry.key for entry in self.small + self.main}

    def hit(self, key: Key) -> None:
        for entry in self.small + self.main:
            if entry.key == key:
                entry.hits = min(3, entry.hits + 1)

    def add(self, key: Key, size: int) -> None:
        if size > self.capacity:
            return
        while total(self.small + self.main) + size > self.capacity:
            if not self.main or total(self.small) > 0.1 * self.capacity:
                entry = self.small.pop(0)
                if entry.hits:
                    self.main.append(Entry(entry.key, entry.size))
                else:
                    self.ghost.append(entry)
                    while total(self.ghost) > 0.9 * self.capacity:
                        self.ghost.pop(0)
            else:
                entry = self.main.pop(0)
                if entry.hits:
                    self.main.append(Entry(entry.key, entry.size, entry.hits - 1))
        remembered = key in [entry.key for entry in self.ghost]
        self.ghost = [entry for entry in self.ghost if entry.key != key]
        (self.main if remembered else self.small).append(Entry(key, size))

    def remove(self, key: Key) -> None:
        self.small = [entry for entry in self.small if entry.key != key]
        self.main = [entry for entry in self.main if entry.key != key]


@pytest.mark.parametrize("seed", range(4))
def test_random_traffic_is_kept_as_the_plain_form_keeps_it(seed: int) -> None:
    generator = np.random.default_rng(seed)
    sizes = generator.integers(1, 1200, 200)
    policy, plain = S3FIFO(5000), Plain(5000)
    held: set[Key] = set()
    for number in generator.zipf(1.3, 4000) % 200:
        key = b"%d" % number
        if generator.random() < 0.02 and held:
            gone = min(held)
            policy.remove(gone)
            plain.remove(gone)
            held.remove(gone)
        if key in held:
            policy.hit(key)
            plain.hit(key)
        else:
            left = policy.add(key, int(sizes[number]))
            plain.add(key, int(sizes[number]))
            held = (held | {key}) - set(left)
        assert held == plain.keys()
        assert len(policy) == len(held)
        assert all(key in policy for key in held)
        assert policy.bytes == total(plain.small + plain.main) <= 5000
    assert 3 < len(held) < 200


def test_a_scan_does_not_drive_out_what_is_asked_for_again() -> None:
    policy: Policy = S3FIFO(100)
    popular = [b"p%d" % number for number in range(50)]
    for key in popular:
        policy.add(key, 1)
        policy.hit(key)
    for number in range(1000):
        policy.add(b"s%d" % number, 1)
    assert all(key in policy for key in popular)


def test_what_is_larger_than_the_cache_is_not_let_in_and_drives_nothing_out() -> None:
    policy = S3FIFO(100)
    policy.add(b"a", 60)
    assert policy.add(b"b", 101) == [b"b"]
    assert b"a" in policy
    assert b"b" not in policy
    assert policy.add(b"c", 100) == [b"a"]
    assert policy.bytes == 100
