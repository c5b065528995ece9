"""A line in the log for each request, or for a share of them."""

import logging
from typing import Any

from serving.monitoring.logs import FIELDS
from serving.monitoring.record import Record

log = logging.getLogger("serving.access")


def log_request(record: Record) -> None:
    """Write the line of a request that has been answered."""
    about = describe(record)
    log.info("%s", _Words(about), extra={FIELDS: {"message": "answered", **about}})


class _Words:
    """What is known of a request on one line for people, put together if it is written."""

    def __init__(self, about: dict[str, Any]) -> None:
        self._about = about

    def __str__(self) -> str:
        known = dict(self._about)
        endpoint, status, stages = known.pop("endpoint"), known.pop("status"), known.pop("stages_ms", {})
        words = [f"{name}={value}" for name, value in known.items()]
        return " ".join([endpoint, str(status), *words, *(f"{stage}_ms={value}" for stage, value in stages.items())])


def describe(record: Record) -> dict[str, Any]:
    """What is known of a request; milliseconds are rounded to a microsecond."""
    known: dict[str, Any] = {
        "endpoint": record.endpoint,
        "status": record.status,
        "request_id": record.request_id,
        "trace": record.trace,
        "model": record.model,
        "version": record.version,
        "bucket": None if record.bucket is None else list(record.bucket),
        "cached": record.cached,
        "error": record.error,
        "ms": _ms(record.end - record.start),
        "stages_ms": {stage: _ms(seconds) for stage, seconds in record.seconds().items()} or None,
        "bytes_in": record.bytes_in,
        "bytes_out": record.bytes_out,
    }
    return {name: value for name, value in known.items() if value is not None}


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 3)
