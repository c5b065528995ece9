"""How often a version's detector of strange inputs went off."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

FIGURE = "ood"


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
        rate = None if alarm is None else alarm.get("false_alarm")
        return cls(1 - float(rate) if rate else None)

    def note(self, arrays: Mapping[str, Any]) -> None:
        """Count the cases of an answer, whose figure is (cases,)."""
        if self.threshold is not None and (figure := arrays.get(FIGURE)) is not None:
            self.cases += len(figure)
            self.alarms += int(np.count_nonzero(figure >= np.float32(self.threshold)))
