"""The wire's share of a request: how long its bytes take to become a query, and the answer to become bytes."""

import time

from serving.monitoring.record import RECORD
from serving.query import Query
from serving.service import Answer


class Watch:
    """Of one request; it starts when it is made."""

    __slots__ = ("_answer", "_start", "_stop")

    def __init__(self) -> None:
        self._start = time.monotonic()

    def decoded(self, query: Query) -> Query:
        """The query, which is now there."""
        self._stop = time.monotonic()
        return query

    def answered(self, answer: Answer) -> Answer:
        """The answer, which is now there; the time until then is not the wire's."""
        answer.stages.decode.observe(self._stop - self._start)
        if (record := RECORD.get()) is not None:
            record.note("decode", self._start, self._stop)
            manifest = answer.manifest
            record.model, record.version = manifest.name, manifest.version
            record.bucket, record.cached = answer.bucket, answer.cached
        self._answer, self._start = answer, time.monotonic()
        return answer

    def encoded(self) -> None:
        """The answer's bytes are now there."""
        end = time.monotonic()
        self._answer.stages.encode.observe(end - self._start)
        if (record := RECORD.get()) is not None:
            record.note("encode", self._start, end)
