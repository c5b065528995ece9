"""What is held: answers under keys, within the bytes that were given, until the policy or their version's end."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from serving.cache.compression import Packed, pack, unpack
from serving.cache.key import Context, Key
from serving.cache.neighbours import Neighbours
from serving.cache.s3fifo import S3FIFO

Arrays = Mapping[str, NDArray[Any]]
Version = tuple[str, str]
ENTRY_BYTES, ARRAY_BYTES = 1024, 256  # what an entry and each of its arrays take beside their numbers, in CPython


class _Entry(NamedTuple):
    version: Version
    arrays: dict[str, NDArray[Any] | Packed]
    saved: int  # bytes that compression saves
    seconds: float  # that its computation took


class Store:
    """Used from one thread. `neighbours` hold the inputs of every answer, which then count too."""

    def __init__(self, capacity: int, compressed: bool, neighbours: Neighbours | None) -> None:
        self._policy = S3FIFO(capacity)
        self._compressed, self._neighbours = compressed, neighbours
        self._entries: dict[Key, _Entry] = {}
        self._keys: dict[Version, set[Key]] = {}
        self.evictions = 0
        self.saved_bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def bytes(self) -> int:
        """What is held takes so many."""
        return self._policy.bytes

    def get(self, key: Key) -> tuple[Arrays, float] | None:
        """The answer under a key, and the seconds that its computation took, if it is held."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._policy.hit(key)
        return {name: unpack(held) for name, held in entry.arrays.items()}, entry.seconds

    def near(self, context: Context, inputs: NDArray[Any]) -> tuple[Key, float] | None:
        """Key and distance of the inputs within the bound of these, (cases, *space, channels), if there are any."""
        return self._neighbours.find(context, inputs) if self._neighbours else None

    def put(
        self, key: Key, version: Version, arrays: Arrays, seconds: float, context: Context, inputs: NDArray[Any]
    ) -> None:
        """Hold an answer to (cases, *space, channels), if it fits; its arrays become read-only."""
        if key in self._entries:
            return
        for array in arrays.values():
            array.setflags(write=False)
        held = {name: pack(array) if self._compressed else array for name, array in arrays.items()}
        taken, whole = (sum(array.nbytes for array in side.values()) for side in (held, arrays))
        size = taken + ENTRY_BYTES + ARRAY_BYTES * len(held) + (inputs.nbytes if self._neighbours else 0)
        gone = self._policy.add(key, size)
        if key not in gone:
            self._entries[key] = _Entry(version, held, whole - taken, seconds)
            self._keys.setdefault(version, set()).add(key)
            self.saved_bytes += whole - taken
            if self._neighbours:
                self._neighbours.add(key, context, np.array(inputs))
        self.evictions += len(gone)
        for other in gone:
            self._forget(other)

    def drop(self, version: Version) -> None:
        """Let go of everything that a version answered."""
        for key in list(self._keys.get(version, ())):
            self._policy.remove(key)
            self._forget(key)

    def _forget(self, key: Key) -> None:
        entry = self._entries.pop(key, None)
        if entry is None:
            return
        self.saved_bytes -= entry.saved
        keys = self._keys[entry.version]
        keys.remove(key)
        if not keys:
            del self._keys[entry.version]
        if self._neighbours:
            self._neighbours.remove(key)
