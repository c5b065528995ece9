"""What is heard of the processes of a run: their last steps, and for how long nobody has reported."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pnol_jax.sharding.heartbeat import Beat, heartbeat_file, read_beat


@dataclass(frozen=True)
class Heard:
    """Reports since the start: the last beat of each process, None before its first."""

    beats: Mapping[int, Beat | None]
    silent: float = 0.0

    @property
    def step(self) -> int | None:
        """The furthest step of any process."""
        return max((beat.step for beat in self.beats.values() if beat and beat.step is not None), default=None)

    @property
    def reporting(self) -> bool:
        """Whether none has reported for the last time."""
        return not any(beat.over for beat in self.beats.values() if beat)

    @property
    def stands(self) -> str:
        """Who stands at which step, the hindmost first."""
        steps = {index: beat.step if beat else None for index, beat in self.beats.items()}
        hindmost = sorted(steps.items(), key=lambda item: -1 if item[1] is None else item[1])
        return ", ".join(
            f"process {index} " + ("has done no step" if step is None else f"stands at step {step}")
            for index, step in hindmost
        )


class Watch:
    """Reads the heartbeats of processes of the run in `folder`, not more often than they can matter."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.forget()
        self.begin((), 0.0)

    def forget(self) -> None:
        """What stands in the folder now is of processes that are gone."""
        self._old = {read_beat(path) for path in self._folder.glob("logs/heartbeat-*")}

    def begin(self, processes: Sequence[int], now: float) -> None:
        """These processes were started, from which nothing was heard yet."""
        self._changed, self._looked = now, now
        self._heard = Heard(dict.fromkeys(processes))

    def look(self, now: float) -> Heard:
        """What is known at `now`."""
        before = self._heard.beats
        if now >= self._looked + 0.1 + 0.01 * len(before):
            self._looked = now
            beats = {index: self._read(index) for index in before}
            if beats != before:
                self._changed = now
            self._heard = Heard(beats, now - self._changed)
        return self._heard

    def _read(self, index: int) -> Beat | None:
        beat = read_beat(heartbeat_file(self._folder, index))
        return None if beat in self._old else beat
