"""Lines on standard error: for people, or one JSON object for each event."""

import logging
import sys
from datetime import UTC, datetime
from typing import Any

import msgspec

from serving.settings import Settings

TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
FIELDS = "fields"  # of a log record: what a line of JSON has beside the message


def configure(settings: Settings, worker: int) -> None:
    """Have everything that this process logs written as the settings say."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(worker) if settings.log_format == "json" else logging.Formatter(TEXT))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("jax").setLevel(logging.WARNING)


class JsonLines(logging.Formatter):
    """One JSON object a line: time (UTC), level, logger, message, worker; error with its trace; the event's fields."""

    def __init__(self, worker: int) -> None:
        super().__init__()
        self._worker = worker

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        fields = getattr(record, FIELDS, {})
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": fields.get("message") or record.getMessage(),
            "worker": self._worker,
            **fields,
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line, enc_hook=str).decode()
