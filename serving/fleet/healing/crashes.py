"""Replicas that end again and again, or cannot be started: how long to wait for the next start, and when to say so."""

from dataclasses import dataclass
from math import inf

from serving.fleet.healing.config import HealingConfig


@dataclass(frozen=True)
class Crashes:
    """Ends that came too soon and starts that failed, in a row, and when the next start may be."""

    row: int = 0
    until: float = -inf

    def looping(self, config: HealingConfig) -> bool:
        """Whether somebody should look."""
        return self.row >= config.loop_alarm


def ended(crashes: Crashes, now: float, ready_at: float | None, config: HealingConfig) -> Crashes:
    """After the end of a replica that nobody asked to end; `ready_at` is None if it never was.

    One that had worked changes nothing; else the pause doubles with each.
    """
    if ready_at is not None and now - ready_at >= config.lasted_seconds:
        return crashes
    pause = min(config.longest_pause, config.pause_seconds * 2.0 ** min(crashes.row, 60))
    return Crashes(crashes.row + 1, now + pause)


def lasted(crashes: Crashes, now: float, ready_at: float, config: HealingConfig) -> Crashes:
    """The row ends when a replica that was started after it has worked for long enough."""
    return Crashes() if now - ready_at >= config.lasted_seconds and ready_at > crashes.until else crashes
