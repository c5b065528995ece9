"""Forecasts of a series with a trend and a season, each value at equal intervals.

Sources: Holt 1957 and Winters 1960 in the additive form of Hyndman and Athanasopoulos 2021, "Forecasting: principles
and practice", 3rd edition, sections 8.1 to 8.3 and 5.2.
"""

from collections import deque
from itertools import islice
from typing import Protocol


class Forecaster(Protocol):
    """Takes values one by one and says which come next."""

    def add(self, value: float) -> None:
        """The next value."""

    def ahead(self, steps: int) -> float | None:
        """The value so many steps, 1 or more, after the last one; None: too few values yet."""


class HoltWinters:
    """Level, trend and season, each smoothed exponentially.

    The first two seasons give the season and the trend to begin with; until they are complete, and where the season
    has no more than one value, level and trend alone are smoothed (Holt).
    """

    def __init__(self, season: int, level: float, trend: float, seasonal: float) -> None:
        self._weights, self._length = (level, trend, seasonal), max(1, season)
        self._begun: list[float] | None = [] if season > 1 else None  # the first two seasons
        self._season = deque([0.0])  # of the coming values, the next one first
        self._level: float | None = None
        self._trend = 0.0
        self._values = 0

    def add(self, value: float) -> None:
        """The next value."""
        self._values += 1
        self._update(value)
        if self._begun is None:
            return
        self._begun.append(value)
        if len(self._begun) == 2 * self._length:
            self._begin(self._begun)
            self._begun = None

    def ahead(self, steps: int) -> float | None:
        """The value so many steps after the last one."""
        if self._level is None or self._values < 2:
            return None
        return self._level + steps * self._trend + self._season[(steps - 1) % len(self._season)]

    def _begin(self, values: list[float]) -> None:
        length = self._length
        first, second = sum(values[:length]) / length, sum(values[length:]) / length
        self._trend = (second - first) / length
        straight = [first + self._trend * (place - (length - 1) / 2) for place in range(length)]
        self._season = deque(value - line for value, line in zip(values, straight, strict=False))
        self._level = straight[-1]
        for value in values[length:]:
            self._update(value)

    def _update(self, value: float) -> None:
        if self._level is None or self._values == 2:
            self._trend = 0.0 if self._level is None else value - self._level
            self._level = value
            return
        alpha, beta, gamma = self._weights
        before, season = self._level + self._trend, self._season.popleft()
        level = alpha * (value - season) + (1 - alpha) * before
        seasonal = gamma * (value - before) + (1 - gamma) * season
        self._season.append(seasonal if self._season else 0.0)  # alone it is no season
        self._trend = beta * (level - self._level) + (1 - beta) * self._trend
        self._level = level


class SeasonalNaive:
    """The value one season earlier, with the change from the season before that to the last one."""

    def __init__(self, season: int) -> None:
        self._length = max(1, season)
        self._values: deque[float] = deque(maxlen=2 * self._length)

    def add(self, value: float) -> None:
        """The next value."""
        self._values.append(value)

    def ahead(self, steps: int) -> float | None:
        """The value so many steps after the last one."""
        known, length = len(self._values), self._length
        if known < length:
            return None
        seasons = -(-steps // length)
        earlier = self._values[known + steps - seasons * length - 1]
        if known < 2 * length:
            return earlier
        last, previous = sum(islice(self._values, length, None)), sum(islice(self._values, length))
        return earlier + seasons * (last - previous) / length
