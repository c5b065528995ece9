"""The policy that is ready for the rate that trend and season foretell."""

import math

from serving.fleet.scaling.config import ForecastConfig
from serving.fleet.scaling.load import Meter
from serving.fleet.scaling.observation import Observation, Recommendation
from serving.fleet.scaling.smoothing import Forecaster, HoltWinters, SeasonalNaive


class Forecast:
    """Replicas for the largest rate within the horizon, at the target of utilisation.

    Rates are gathered into means of an interval each. One without an observation takes the value before it.
    """

    def __init__(self, name: str, config: ForecastConfig) -> None:
        self.name = name
        self._config, self._meter = config, Meter(config.service_seconds)
        self._series = forecaster(config)
        self._interval: int | None = None  # that is being gathered, in intervals since the epoch
        self._rates: list[float] = []

    def recommend(self, seen: Observation) -> Recommendation:
        """What the forecast needs."""
        if seen.requests_per_second is not None:
            self._gather(int(seen.time // self._config.interval_seconds), seen.requests_per_second)
        coming = self.largest()
        if coming is None:  # it has no opinion yet, and keeps nobody from having one
            return Recommendation(self.name, 0, "too few intervals yet")
        load = self._meter.measure(seen, coming)
        if load is None:
            return Recommendation(self.name, None, "rate or utilisation is missing")
        reason = f"{coming:.4g} requests a second within {self._config.horizon_seconds:g} s"
        return Recommendation(self.name, math.ceil(load.busy / self._config.target), reason)

    def largest(self) -> float | None:
        """The largest rate of the horizon, in requests a second; None: not known yet."""
        steps = 1 + math.ceil(self._config.horizon_seconds / self._config.interval_seconds)
        ahead = [rate for step in range(1, steps + 1) if (rate := self._series.ahead(step)) is not None]
        return max(0.0, *ahead) if ahead else None

    def _gather(self, interval: int, rate: float) -> None:
        if self._interval is not None and interval > self._interval:
            mean = sum(self._rates) / len(self._rates)
            for _ in range(interval - self._interval):
                self._series.add(mean)
            self._rates = []
        self._interval = interval
        self._rates.append(rate)


def forecaster(config: ForecastConfig) -> Forecaster:
    """The series of a config."""
    season = round(config.season_seconds / config.interval_seconds)
    if config.method == "seasonal_naive":
        return SeasonalNaive(season)
    return HoltWinters(season, config.level, config.trend, config.season)
