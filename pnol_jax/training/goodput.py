"""Where the time of a run goes, over all its attempts: `goodput.json` in its folder.

Goodput is the share of the time since the run began that its steps took, without those that were lost and done again.
"""

import contextlib
import json
import statistics
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import jax

from pnol_jax.files import write_atomically
from pnol_jax.sharding.heartbeat import heartbeat_file, read_beat

FILE = "goodput.json"
COMPILED = "/jax/core/compile/backend_compile_duration"
KINDS = ("start", "compile", "input", "step", "checkpoint", "fit", "other")
LATEST = 1000  # steps whose times make the median


class Goodput:
    """A stopwatch: `lap(kind)` says what the time since the last lap went to.

    A step in which a program was compiled counts as "compile". While entered it listens to JAX for that.

    It runs from when it is made; `start` says where this attempt begins.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._began, self._last = time.time(), time.monotonic()
        self._compiled = False
        self._steps: deque[float] = deque(maxlen=LATEST)
        self.attempts: list[dict[str, Any]] = []

    def start(self, done: int, *, goes_on: bool) -> None:
        """Begin an attempt with `done` steps kept of those before, if it goes on from any."""
        reported = _reported(self._folder)
        self.attempts = _before(self._folder, done, reported) if goes_on else []
        away = max(0.0, self._began - reported) if reported and self.attempts else 0.0
        self.attempts.append(
            {
                "began": self._began,
                "first_step": done,
                "last_step": done,
                "seconds": dict.fromkeys(KINDS, 0.0),
                "away_seconds": away,
                "skipped_steps": 0,
                "lost_steps": 0,
                "lost_seconds": 0.0,
            }
        )
        self.lap("start")
        self.write(done)

    @property
    def now(self) -> dict[str, Any]:
        """This attempt."""
        return self.attempts[-1]

    def lap(self, kind: str) -> None:
        """Add the time since the last lap to a kind (`KINDS`)."""
        now = time.monotonic()
        seconds, self._last = now - self._last, now
        if self._compiled and kind == "step":
            kind = "compile"
        elif kind == "step":
            self._steps.append(seconds)
        self._compiled = False
        self.now["seconds"][kind] += seconds

    @property
    def step_seconds(self) -> float:
        """The median of the latest steps, 0 before the first."""
        return statistics.median(self._steps) if self._steps else 0.0

    def skip(self) -> None:
        """A step was left out."""
        self.now["skipped_steps"] += 1

    def lose(self, steps: int) -> None:
        """Steps of this attempt are done again, or not at all."""
        _lose(self.now, steps, self.step_seconds)

    def write(self, done: int, **figures: float) -> None:
        """Leave what is known; of several processes the first does."""
        self.now.update(figures, last_step=done, written=time.time())
        if jax.process_index() == 0:
            content = {"goodput": self.share(), "attempts": self.attempts}
            with contextlib.suppress(OSError):  # a full disk is for the checkpoint to report
                write_atomically(self._folder / FILE, json.dumps(content, indent=2) + "\n")

    def total(self, kind: str) -> float:
        """Seconds of a kind over all attempts."""
        return seconds_of(self.attempts, kind)

    def lost(self) -> tuple[int, float]:
        """Steps and seconds that were lost in all attempts."""
        steps, seconds = (sum(attempt[f"lost_{unit}"] for attempt in self.attempts) for unit in ("steps", "seconds"))
        return int(steps), float(seconds)

    def away(self) -> float:
        """Seconds between attempts, starting and reading data included."""
        return float(sum(attempt["away_seconds"] for attempt in self.attempts))

    def share(self) -> float:
        """The goodput."""
        whole = sum(map(self.total, KINDS)) + self.away()
        return max(0.0, self.total("step") - self.lost()[1]) / whole if whole else 0.0

    def __enter__(self) -> Self:
        jax.monitoring.register_event_duration_secs_listener(self._hear)
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        jax.monitoring.unregister_event_duration_listener(self._hear)

    def _hear(self, event: str, duration_secs: float, **_: str | int) -> None:
        self._compiled = self._compiled or event == COMPILED


def seconds_of(attempts: Sequence[Mapping[str, Any]], kind: str) -> float:
    """Seconds of a kind over attempts."""
    return float(sum(attempt["seconds"].get(kind, 0.0) for attempt in attempts))


def add(folder: Path, kind: str, seconds: float) -> None:
    """Add what was spent after the steps to the last attempt in a folder, if one is written down."""
    clock = Goodput(folder)
    clock.attempts = _read(folder)
    if clock.attempts:
        spent = clock.now["seconds"]
        spent[kind] = spent.get(kind, 0.0) + seconds
        clock.write(clock.now["last_step"])


def _read(folder: Path) -> list[dict[str, Any]]:
    """The attempts that are written down, none where nothing is."""
    try:
        attempts: list[dict[str, Any]] = json.loads((folder / FILE).read_text(encoding="utf-8"))["attempts"]
    except (OSError, ValueError, KeyError):
        return []
    return attempts


def _before(folder: Path, done: int, reported: float | None) -> list[dict[str, Any]]:
    """The attempts so far. The last one's steps beyond `done` are lost, as far as its process reported them."""
    attempts = _read(folder)
    if not attempts:
        return []
    beat, last = read_beat(heartbeat_file(folder, 0)), attempts[-1]
    reached = max(last["last_step"], beat.step if beat and beat.step is not None else 0)
    recorded = last["last_step"] - last["first_step"]
    mean = last["seconds"]["step"] / recorded if recorded > 0 else 0.0
    after = mean * (reached - last["last_step"])  # what it did after it had last written
    last["seconds"]["step"] += after
    if reported is not None:
        last["seconds"]["other"] += max(0.0, reported - last["written"] - after)
    _lose(last, max(0, reached - done), mean)
    return attempts


def _lose(attempt: dict[str, Any], steps: int, seconds: float) -> None:
    attempt["lost_steps"] += steps
    attempt["lost_seconds"] += steps * seconds


def _reported(folder: Path) -> float | None:
    """When the run's first process last reported, in seconds since 1970; None if it never did."""
    try:
        return heartbeat_file(folder, 0).stat().st_mtime
    except OSError:
        return None
