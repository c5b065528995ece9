"""What was decided and what happened, with reasons: the latest in memory, all in `decisions.jsonl`."""

import logging
import os
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from pnol_jax.files import LineFile

FILE = "decisions.jsonl"
log = logging.getLogger("serving.fleet")
Later = Callable[[Callable[[], object]], object]  # has something done by another thread


class Decisions:
    """A line holds `time` (seconds since 1970), `event`, `why`, and what belongs to it; `replica` for one of them.

    `later`: who writes, as a disk may stand still.
    """

    def __init__(self, folder: Path, kept: int, limit: int, later: Later) -> None:
        self.recent: deque[dict[str, Any]] = deque(maxlen=kept)
        self._path, self._limit, self._later = folder / FILE, limit, later
        self._file = LineFile(self._path)

    def note(self, event: str, why: str = "", level: int = logging.INFO, **more: Any) -> None:
        """Something happened or was decided."""
        line = {"time": round(time.time(), 3), "event": event, "why": why, **more}
        self.recent.append(line)
        words = " ".join(str(word) for word in (more.get("replica", ""), event) if word)
        log.log(level, "%s%s", words, f": {why}" if why else "")
        text = msgspec.json.encode(line, enc_hook=str).decode()
        self._later(lambda: self._write(text))

    def close(self) -> None:
        """Write what is left."""
        self._file.close()

    def _write(self, text: str) -> None:
        self._file.add(text)
        try:
            if os.stat(self._path).st_size > self._limit:
                self._file.close()
                os.replace(self._path, self._path.with_name(f"{FILE}.1"))
        except OSError as error:
            log.warning("%s: %s", self._path, error)
