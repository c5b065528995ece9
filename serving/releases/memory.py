"""The requests that were answered last, by id, so that a truth that comes later needs nothing else."""

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np

from serving.query import Query
from serving.refusals import NotFound, Refusal


@dataclass(frozen=True)
class Asked:
    """A request that was answered, and by which version."""

    query: Query
    model: str
    version: str

    def is_like(self, other: "Asked") -> bool:
        """Whether it is the same request, sent again."""
        same = (self.model, self.version) == (other.model, other.version)
        return same and np.array_equal(self.query.inputs, other.query.inputs)


class Memory:
    """At most so many requests and bytes of inputs; the oldest make room. Used from the event loop's thread only."""

    def __init__(self, requests: int, capacity_bytes: int) -> None:
        self._requests = requests
        self._capacity = capacity_bytes
        self._held: OrderedDict[str, Asked | None] = OrderedDict()  # None: several requests had the id
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._held)

    def put(self, identifier: str, asked: Asked) -> None:
        """Keep a request. If another one had the same id, a truth may be of either: then neither is kept."""
        before = self._held.get(identifier, asked)
        unique = before is not None and before.is_like(asked)
        self._forget(identifier)
        self._held[identifier] = asked if unique else None
        self.bytes += asked.query.inputs.nbytes if unique else 0
        while len(self._held) > self._requests or self.bytes > self._capacity:
            self._forget(next(iter(self._held)))

    def recall(self, identifier: str) -> Asked:
        """The request of an id.

        Raises:
            NotFound: it is not known, or not any more.
            Refusal: several requests had it.
        """
        if identifier not in self._held:
            raise NotFound(f"id: got {identifier!r}, expected that of one of the last {len(self)} requests")
        asked = self._held[identifier]
        if asked is None:
            raise Refusal(f"id: got {identifier!r}, which several requests had; expected the inputs again in its place")
        return asked

    def _forget(self, identifier: str) -> None:
        asked = self._held.pop(identifier, None)
        if asked is not None:
            self.bytes -= asked.query.inputs.nbytes
