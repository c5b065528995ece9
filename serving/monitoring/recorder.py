"""Who wants a record of requests: the log, traces. Where nobody does, none is made."""

import random
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from serving.monitoring.access_log import log_request
from serving.monitoring.record import RECORD, Record
from serving.request_id import find_request_id
from serving.settings import Settings

TRACE = b"traceparent"
Headers = Iterable[tuple[bytes, bytes]]


@dataclass(frozen=True)
class Sink:
    """Gets the records of a share of the requests."""

    take: Callable[[Record], None]
    share: float = 1.0


class Recorder:
    """Makes records and hands them on. Used from one event loop."""

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._sinks = sinks
        self._share = max((sink.share for sink in sinks), default=0.0)

    @property
    def is_on(self) -> bool:
        """Whether anybody wants records."""
        return self._share > 0

    def begin(self, endpoint: str, headers: Headers) -> Record | None:
        """The record of a request, which the task at hand answers; None if nobody wants this one."""
        place = random.random()  # one for all: of two shares the smaller is of the same requests as the larger
        if place >= self._share:
            RECORD.set(None)  # a pipelined request may run in the context of the one before it
            return None
        given, trace = find_request_id(headers), next((value for name, value in headers if name == TRACE), None)
        record = Record(
            endpoint,
            secrets.token_hex(8) if given is None else given.decode(),
            None if trace is None else trace.decode("latin-1"),
            place=place,
        )
        RECORD.set(record)
        return record

    def end(self, record: Record, status: int | str, bytes_out: int) -> None:
        """Hand on the record of a request that was answered."""
        record.end, record.status, record.bytes_out = time.monotonic(), status, bytes_out
        RECORD.set(None)
        for sink in self._sinks:
            if record.place < sink.share:
                sink.take(record)


def make_recorder(settings: Settings, worker: int) -> Recorder:
    """What the settings want of requests.

    Raises:
        InputError: traces are wanted, and what sends them is not installed.
    """
    sinks = [Sink(log_request, settings.access_log)] if settings.access_log else []
    if settings.traces:
        from serving.monitoring.traces import Traces  # its packages need not be installed

        sinks.append(Sink(Traces(settings, worker).take))
    return Recorder(sinks)
