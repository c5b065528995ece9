"""What was used last, within so many bytes."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

Held = TypeVar("Held")


class Recent(Generic[Held]):
    """Values by key; those used longest ago make room, but never the newest. Used by one thread at a time."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._held: OrderedDict[Hashable, tuple[Held, int]] = OrderedDict()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._held)

    def get(self, key: Hashable) -> Held | None:
        """The value of a key, if it is held."""
        if key not in self._held:
            return None
        self._held.move_to_end(key)
        return self._held[key][0]

    def put(self, key: Hashable, value: Held, size: int) -> None:
        """Hold a value of so many bytes under a key that has none."""
        self._held[key] = value, size
        self.bytes += size
        while self.bytes > self._capacity and len(self._held) > 1:
            _, (_, gone) = self._held.popitem(last=False)
            self.bytes -= gone
