"""What happened to a job: one line per event in FOLDER/launch.jsonl, and who may write there."""

import fcntl
import json
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from experiments.supervision.machine import Note
from pnol_jax.errors import InputError

FILE = "launch.jsonl"


class Events:
    """The open file. While it is open no second supervisor can open it: two in one folder would spoil the run.

    A line holds `time` (seconds since 1970), `seconds` (since the supervisor began), `event`, and what belongs to it.

    Raises:
        InputError: another supervisor has it open.
    """

    def __init__(self, folder: Path, name: str = FILE) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = (folder / name).open("a", encoding="utf-8")
        self._began = time.monotonic()
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise InputError(f"{folder}: another launch works in this folder, expected one at a time") from None

    def write(self, note: Note, **more: Any) -> None:
        """Add a line."""
        said = {"event": note.event, "why": note.why, "lost": list(note.lost), "step": note.step, "delay": note.delay}
        line = {"time": round(time.time(), 3), "seconds": round(time.monotonic() - self._began, 3)} | said | more
        kept = {key: value for key, value in line.items() if value not in ("", None, [])}
        self._file.write(json.dumps(kept) + "\n")
        self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._file.close()


def read_events(folder: Path, name: str = FILE) -> list[dict[str, Any]]:
    """All events of the launches in a folder, in order."""
    return [json.loads(line) for line in (folder / name).read_text(encoding="utf-8").splitlines()]
