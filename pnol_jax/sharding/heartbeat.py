"""A sign of life: each process leaves its last step in a small file, which the supervisor of a run reads."""

import contextlib
import os
from pathlib import Path
from typing import Self

import msgspec

_BYTES = 64  # a beat is written over the one before, so all are equally long


class Beat(msgspec.Struct, frozen=True, array_like=True):
    """How often process `pid` has reported, the last step that it did, if any, and whether this was its last report."""

    pid: int
    beats: int
    step: int | None
    over: bool = False


class Heartbeat:
    """Reports of process `index` in the run's `folder`. As a context, its end says that no more will come.

    Nobody compares clocks: a reader sees whether the number of beats has changed.
    """

    def __init__(self, folder: Path, index: int) -> None:
        path = heartbeat_file(folder, index)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
        self._last = Beat(os.getpid(), 0, None)

    def beat(self, step: int) -> None:
        """Report that `step` is done; takes a few microseconds. Also to be called while something else goes on."""
        self._write(step)

    def close(self) -> None:
        """Say that this process will report no more: what it still does is not watched."""
        self._write(self._last.step, over=True)
        os.close(self._file)

    def _write(self, step: int | None, over: bool = False) -> None:
        beat = self._last = Beat(self._last.pid, self._last.beats + 1, step, over)
        with contextlib.suppress(OSError):  # a full disk is for the checkpoint to report
            os.pwrite(self._file, msgspec.json.encode(beat).ljust(_BYTES - 1) + b"\n", 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def heartbeat_file(folder: Path, index: int) -> Path:
    """Where process `index` of the run in `folder` reports."""
    return folder / "logs" / f"heartbeat-{index}"


def read_beat(path: Path) -> Beat | None:
    """The last report in a heartbeat's file; None before the first."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Beat)
    except (OSError, msgspec.DecodeError):
        return None
