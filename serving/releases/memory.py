"""The requests that were answered last, by id, so that a truth that comes later needs nothing else."""

from collections import OrderedDict
from dataclasses import dataclass

from serving.query import Query


@dataclass(frozen=True)
class Asked:
    """A request that was answered, and by which version."""

    query: Query
    model: str
    version: str


class Memory:
    """At most so many requests and bytes of inputs; the oldest make room. Used from the event loop's thread only."""

    def __init__(self, requests: int, capacity_bytes: int) -> None:
        self._requests = requests
        self._capacity = capacity_bytes
        self._held: OrderedDict[str, Asked] = OrderedDict()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._held)

    def put(self, identifier: str, asked: Asked) -> None:
        """Keep a request; one of the same id before it is forgotten."""
        self._forget(identifier)
        self._held[identifier] = asked
        self.bytes += asked.query.inputs.nbytes
        while len(self._held) > self._requests or self.bytes > self._capacity:
            self._forget(next(iter(self._held)))

    def get(self, identifier: str) -> Asked | None:
        """The request of that id, if it is still known."""
        return self._held.get(identifier)

    def _forget(self, identifier: str) -> None:
        asked = self._held.pop(identifier, None)
        if asked is not None:
            self.bytes -= asked.query.inputs.nbytes
