"""The wire's share of a request: how long its bytes take to become a query, and the answer to become bytes."""

import time
from typing import Protocol, TypeVar

from pnol_jax.servable import Bucket, Manifest
from serving.monitoring.record import RECORD
from serving.monitoring.stages import Stages


class Answered(Protocol):
    """What an answer of any kind says of itself; `stages`: where the time of the version's requests is counted."""

    @property
    def manifest(self) -> Manifest: ...  # noqa: D102

    @property
    def bucket(self) -> Bucket: ...  # noqa: D102

    @property
    def cached(self) -> bool: ...  # noqa: D102

    @property
    def stages(self) -> Stages: ...  # noqa: D102


Q = TypeVar("Q")
A = TypeVar("A", bound=Answered)


class Watch:
    """Of one request; it starts when it is made."""

    __slots__ = ("_stages", "_start", "_stop")

    def __init__(self) -> None:
        self._start = time.monotonic()

    def decoded(self, query: Q) -> Q:
        """The query, which is now there."""
        self._stop = time.monotonic()
        return query

    def answered(self, answer: A) -> A:
        """The answer, or its beginning, which is now there; the time until then is not the wire's."""
        self._stages = answer.stages
        self._stages.decode.observe(self._stop - self._start)
        if (record := RECORD.get()) is not None:
            record.note("decode", self._start, self._stop)
            manifest = answer.manifest
            record.model, record.version = manifest.name, manifest.version
            record.bucket, record.cached = answer.bucket, answer.cached
        self.encodes()
        return answer

    def encodes(self) -> None:
        """What comes now is the wire's again, until `encoded`."""
        self._start = time.monotonic()

    def encoded(self) -> None:
        """The bytes of the answer, or of a part of it, are now there."""
        end = time.monotonic()
        self._stages.encode.observe(end - self._start)
        if (record := RECORD.get()) is not None:
            record.note("encode", self._start, end)
