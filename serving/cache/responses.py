"""Responses as they were sent, by the very bytes of their requests: a request that repeats is not even read.

Decoding, checking and encoding take several times as long as to find an answer. Only the response to what was held
already is kept, so that what nobody repeats takes no room.
"""

from collections.abc import Mapping
from typing import Generic, NamedTuple, TypeVar

from blake3 import blake3

from serving.cache.key import Key
from serving.cache.s3fifo import S3FIFO
from serving.cache.store import ENTRY_BYTES

HEADERS = (b"content-type", b"accept", b"inference-header-content-length")  # that an answer depends on
T = TypeVar("T")


class Kept(NamedTuple, Generic[T]):
    """A response, and the seconds that it once took to compute its answer."""

    response: T
    seconds: float


def bytes_key(path: str, parameters: bytes, headers: Mapping[bytes, bytes], body: bytes) -> Key:
    """The key of a request as it came; the body first, where BLAKE3 is at its fastest."""
    state = blake3(body)
    for part in (len(body).to_bytes(8, "little"), path.encode(), parameters, *(headers.get(n, b"") for n in HEADERS)):
        state.update(len(part).to_bytes(8, "little") + part)
    return state.digest()


class Responses(Generic[T]):
    """Bounded by bytes. Used from one thread.

    `state` is whatever decides which version answers a request: responses are of one state, and all go with it.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._state: object = None
        self._clear()

    def __len__(self) -> int:
        return len(self._held)

    @property
    def bytes(self) -> int:
        """What is held takes so many."""
        return self._policy.bytes

    def get(self, key: Key, state: object) -> Kept[T] | None:
        """The response to a request, if it is held."""
        if state is not self._state:
            self._state = state
            self._clear()
        kept = self._held.get(key)
        if kept is not None:
            self._policy.hit(key)
        return kept

    def put(self, key: Key, state: object, kept: Kept[T], size: int) -> None:
        """Hold a response of so many bytes, if it fits and the state is still the same."""
        if state is not self._state or key in self._held:
            return
        self._held[key] = kept
        for gone in self._policy.add(key, ENTRY_BYTES + size):
            del self._held[gone]

    def _clear(self) -> None:
        self._policy = S3FIFO(self.capacity)
        self._held: dict[Key, Kept[T]] = {}
