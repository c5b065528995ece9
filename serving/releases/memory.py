"""The requests that were answered last, by id, so that a truth that comes later needs nothing else."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from serving.query import Query
from serving.refusals import NotFound, Refusal


@dataclass(frozen=True)
class Asked:
    """A request that was answered, and by which version."""

    query: Query
    model: str
    version: str

    @classmethod
    def apart(cls, query: Query, model: str, version: str) -> "Asked":
        """With arrays of its own: those of a request are views of a body that may be much larger."""
        coordinates = None if query.coordinates is None else tuple(map(np.array, query.coordinates))
        return cls(replace(query, inputs=np.array(query.inputs), coordinates=coordinates), model, version)

    @property
    def nbytes(self) -> int:
        """Of its arrays."""
        return self.query.inputs.nbytes + sum(axis.nbytes for axis in self.query.coordinates or ())

    def is_like(self, other: "Asked") -> bool:
        """Whether it is the same request, sent again."""
        same = (self.model, self.version) == (other.model, other.version)
        mine, theirs = self.query.coordinates or (), other.query.coordinates or ()
        same = same and len(mine) == len(theirs) and all(map(np.array_equal, mine, theirs))
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
        self.bytes += asked.nbytes if unique else 0
        while len(self._held) > self._requests or self.bytes > self._capacity:
            self._forget(next(iter(self._held)))

    def find(self, identifier: str) -> list[Asked | None]:
        """The request of an id, if it is known; None stands for several that had it."""
        return [self._held[identifier]] if identifier in self._held else []

    def recall(self, identifier: str) -> Asked:
        """The request of an id.

        Raises:
            NotFound: it is not known, or not any more.
            Refusal: several requests had it.
        """
        return only(identifier, self.find(identifier), f"one of the last {len(self)} requests")

    def _forget(self, identifier: str) -> None:
        asked = self._held.pop(identifier, None)
        if asked is not None:
            self.bytes -= asked.nbytes


def only(identifier: str, found: Sequence[Asked | None], expected: str) -> Asked:
    """The one request that was found, maybe more than once.

    Raises:
        NotFound: there is none; the error names those that were expected.
        Refusal: there are several.
    """
    if not found:
        raise NotFound(f"id: got {identifier!r}, expected that of {expected}")
    first = found[0]
    if first is None or not all(other is not None and first.is_like(other) for other in found):
        raise Refusal(f"id: got {identifier!r}, which several requests had; expected the inputs again in its place")
    return first
