"""What decides which entries stay in a cache bounded by bytes: the protocol, and the queue that policies use."""

from collections import OrderedDict
from collections.abc import Iterator
from typing import Protocol

from serving.cache.key import Key


class Policy(Protocol):
    """Knows keys and sizes, not values. After every call the sizes it holds sum to at most its capacity."""

    @property
    def bytes(self) -> int:
        """The sizes of what is held."""
        ...

    def __contains__(self, key: Key) -> bool: ...

    def __len__(self) -> int: ...

    def hit(self, key: Key) -> None:
        """Note that an entry that is held was asked for."""
        ...

    def add(self, key: Key, size: int) -> list[Key]:
        """Take in an entry that is not held: the keys that have to go, among which may be its own."""
        ...

    def remove(self, key: Key) -> None:
        """Let an entry go that is held."""
        ...


class Queue:
    """Keys with their sizes in bytes, oldest first."""

    def __init__(self) -> None:
        self._sizes: OrderedDict[Key, int] = OrderedDict()
        self.bytes = 0

    def __contains__(self, key: Key) -> bool:
        return key in self._sizes

    def __len__(self) -> int:
        return len(self._sizes)

    def __iter__(self) -> Iterator[tuple[Key, int]]:
        return iter(self._sizes.items())

    def push(self, key: Key, size: int) -> None:
        """Put a key that is not in it at the end."""
        self._sizes[key] = size
        self.bytes += size

    def pop(self) -> tuple[Key, int]:
        """Take the oldest out."""
        key, size = self._sizes.popitem(last=False)
        self.bytes -= size
        return key, size

    def remove(self, key: Key) -> int:
        """Take a key out: its size."""
        size = self._sizes.pop(key)
        self.bytes -= size
        return size

    def renew(self, key: Key) -> None:
        """Move a key to the end."""
        self._sizes.move_to_end(key)
