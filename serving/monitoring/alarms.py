"""How often a version's detector of strange inputs went off."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

FIGURE = "ood"


def alarm_threshold(alarm: Mapping[str, Any] | None) -> float | None:
    """The figure from which on a manifest's own alarm goes off, None if it states no rate of false ones.

    In float32, as figures are: one minus the rate in float64 may be above the figure that is meant.
    """
    rate = None if alarm is None else alarm.get("false_alarm")
    return float(np.float32(1 - float(rate))) if rate else None


@dataclass
class Alarms:
    """Counted of the inputs that were computed: those that the cache knows are not new ones.

    threshold: from which on the figure is an alarm; none where the version states no rate of false ones.
    """

    threshold: float | None = None
    cases: int = 0
    alarms: int = 0

    @classmethod
    def of(cls, alarm: Mapping[str, Any] | None) -> "Alarms":
        """By what a manifest says of the figure."""
        return cls(alarm_threshold(alarm))

    def note(self, arrays: Mapping[str, Any]) -> None:
        """Count the cases of an answer, whose figure is (cases,)."""
        if self.threshold is not None and (figure := arrays.get(FIGURE)) is not None:
            self.cases += len(figure)
            self.alarms += int(np.count_nonzero(figure >= self.threshold))
