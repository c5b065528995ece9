"""Policies that the served one is compared with: least recently used, and W-TinyLFU."""

import numpy as np

from serving.cache.key import Key
from serving.cache.policy import Queue

WINDOW = 0.01  # of the bytes, for what is new
PROTECTED = 0.8  # of the rest, for what was asked for again
TYPICAL = 4096  # bytes of an entry, by which the sketch is sized
COUNTED = 15  # requests at most, of one key
MEMORY = 10  # requests remembered, as a multiple of the entries held


class LRU:
    """Lets go what was asked for least recently."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._queue = Queue()

    @property
    def bytes(self) -> int:
        """The sizes of what is held."""
        return self._queue.bytes

    def __contains__(self, key: Key) -> bool:
        return key in self._queue

    def __len__(self) -> int:
        return len(self._queue)

    def hit(self, key: Key) -> None:
        """Note that an entry that is held was asked for."""
        self._queue.renew(key)

    def add(self, key: Key, size: int) -> list[Key]:
        """Take in an entry that is not held: the keys that have to go, among which may be its own."""
        if size > self._capacity:
            return [key]
        self._queue.push(key, size)
        gone = []
        while self._queue.bytes > self._capacity:
            gone.append(self._queue.pop()[0])
        return gone

    def remove(self, key: Key) -> None:
        """Let an entry go that is held."""
        self._queue.remove(key)


class TinyLFU:
    """W-TinyLFU (Einziger, Friedman and Manes 2017, "TinyLFU: a highly efficient cache admission policy"), by bytes.

    What is new enters a small window. What leaves that is let into the main part, which has a segment on probation and
    one that is protected, only if it was asked for more often than what would make room for it, all of it together
    (Einziger et al. 2022, "Lightweight robust size aware cache management", aggregated victims).
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._room = capacity - int(WINDOW * capacity)
        self._window, self._probation, self._protected = Queue(), Queue(), Queue()
        self._frequency = Frequency(max(1024, capacity // TYPICAL))

    @property
    def bytes(self) -> int:
        """The sizes of what is held."""
        return self._window.bytes + self._probation.bytes + self._protected.bytes

    def __contains__(self, key: Key) -> bool:
        return key in self._window or key in self._probation or key in self._protected

    def __len__(self) -> int:
        return len(self._window) + len(self._probation) + len(self._protected)

    def hit(self, key: Key) -> None:
        """Note that an entry that is held was asked for."""
        self._frequency.count(key, len(self))
        if key in self._probation:
            self._protected.push(key, self._probation.remove(key))
            while self._protected.bytes > PROTECTED * self._room:
                self._probation.push(*self._protected.pop())
        else:
            (self._window if key in self._window else self._protected).renew(key)

    def add(self, key: Key, size: int) -> list[Key]:
        """Take in an entry that is not held: the keys that have to go, among which may be its own."""
        self._frequency.count(key, len(self))
        if size > self._room:
            return [key]
        self._window.push(key, size)
        gone: list[Key] = []
        while self._window.bytes > self._capacity - self._room:
            gone += self._admit(*self._window.pop())
        return gone

    def remove(self, key: Key) -> None:
        """Let an entry go that is held."""
        for queue in (self._window, self._probation, self._protected):
            if key in queue:
                queue.remove(key)

    def _admit(self, key: Key, size: int) -> list[Key]:
        """Let a candidate into the main part, or not: the keys that have to go."""
        missing = self._probation.bytes + self._protected.bytes + size - self._room
        victims: list[Key] = []
        worth, mine = 0, self._frequency[key]
        for queue in (self._probation, self._protected):
            for victim, its in queue:
                if missing <= 0:
                    break
                worth += self._frequency[victim]
                if worth >= mine:
                    return [key]
                victims.append(victim)
                missing -= its
        for victim in victims:
            self.remove(victim)
        self._probation.push(key, size)
        return victims


class Frequency:
    """How often keys were asked for lately: a count-min sketch that halves what it counted from time to time.

    An estimate is never below what was counted since the last halving (sections 3.2 and 3.3 of the paper).
    """

    def __init__(self, width: int) -> None:
        self._mask = (1 << max(width - 1, 1).bit_length()) - 1
        self._rows = [bytearray(self._mask + 1) for _ in range(4)]
        self._counted = 0

    def count(self, key: Key, entries: int) -> None:
        """Note a request while so many entries are held."""
        places = self._places(key)
        least = self[key]
        if least < COUNTED:
            for row, place in zip(self._rows, places, strict=True):
                if row[place] == least:
                    row[place] = least + 1
        self._counted += 1
        if self._counted >= MEMORY * max(entries, self._mask >> 6):
            for row in self._rows:
                counters = np.frombuffer(row, np.uint8)
                np.right_shift(counters, 1, out=counters)
            self._counted //= 2

    def __getitem__(self, key: Key) -> int:
        a, b, c, d = self._places(key)
        rows = self._rows
        return min(rows[0][a], rows[1][b], rows[2][c], rows[3][d])

    def _places(self, key: Key) -> tuple[int, int, int, int]:
        number, mask = hash(key), self._mask
        return number & mask, (number >> 13) & mask, (number >> 26) & mask, (number >> 39) & mask
