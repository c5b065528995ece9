"""The policy of a timetable."""

from datetime import datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pnol_jax.errors import InputError
from serving.fleet.scaling.config import WEEK, ScheduleConfig
from serving.fleet.scaling.observation import Observation, Recommendation


class Schedule:
    """So many replicas from one time of the day to another, as clocks show it in a time zone."""

    def __init__(self, name: str, config: ScheduleConfig) -> None:
        self.name = name
        self._config, self._zone = config, zone_of(config.zone)

    def recommend(self, seen: Observation) -> Recommendation:
        """The number within the times, 0 outside."""
        times = f"{self._config.start} to {self._config.end} {self._config.zone}"
        if self.holds(datetime.fromtimestamp(seen.shown, self._zone)):
            return Recommendation(self.name, self._config.replicas, f"it is {times}")
        return Recommendation(self.name, 0, f"it is not {times}")

    def holds(self, local: datetime) -> bool:
        """Whether a time lies within; from a start that is not before the end on, it is the next day's end."""
        clock, start, end = f"{local:%H:%M}", self._config.start, self._config.end
        today, yesterday = (WEEK[day.weekday()] in self._config.days for day in (local, local - timedelta(days=1)))
        if start < end:
            return today and start <= clock < end
        return (today and clock >= start) or (yesterday and clock < end)


def zone_of(name: str) -> tzinfo:
    """A time zone by its name.

    Raises:
        InputError: it is not known here.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InputError(f"zone: got {name!r}, expected a name of the IANA database, as Europe/Berlin") from None
