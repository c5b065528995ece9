"""How many replicas there shall be: what the policies say, within bounds, unless a person has fixed it."""

import time

from msgspec.structs import asdict, replace

from serving.fleet.replicas.book import Bounds
from serving.fleet.scaling import Decision, Observation, Scaler, ScalingConfig
from serving.refusals import Refusal


class Scale:
    """Keeps the number; `minimum` and `maximum` are those of the config."""

    def __init__(self, config: ScalingConfig, minimum: int, maximum: int, desired: int | None, bounds: Bounds) -> None:
        self._config, self._minimum, self._maximum = config, minimum, maximum
        self.bounds = bounds
        if bounds.fixed is not None:  # by another config, perhaps
            self.bounds = replace(bounds, fixed=self._clamped(bounds.fixed))
        self._scaler = Scaler(config, self.minimum, self.maximum)
        first = max(1, self.minimum) if desired is None else desired
        start = self._clamped(first) if self.bounds.fixed is None else self.bounds.fixed
        self.decision = Decision(time.time(), start, start, "at the start", (), config.spares)

    @property
    def minimum(self) -> int:
        """The fewest that policies may choose."""
        return self._minimum if self.bounds.minimum is None else self.bounds.minimum

    @property
    def maximum(self) -> int:
        """The most."""
        return self._maximum if self.bounds.maximum is None else self.bounds.maximum

    @property
    def desired(self) -> int:
        """The replicas that get requests."""
        return self.decision.desired

    @property
    def spares(self) -> int:
        """Those that wait beside them, also beside the maximum: they take memory, and no core's time."""
        return self._config.spares

    @property
    def given(self) -> str:
        """What a person wants, in words; '' if nothing."""
        return ", ".join(f"{name} {value}" for name, value in asdict(self.bounds).items() if value is not None)

    def decide(self, seen: Observation) -> bool:
        """Decide anew, and say whether it is another number."""
        before = self.desired
        decision = self._scaler.decide(seen)
        if self.bounds.fixed is not None:
            number = self.bounds.fixed
            reason = f"fixed by a person; the policies want {decision.desired}"
            decision = Decision(seen.shown, before, number, reason, decision.by, self._config.spares)
        self.decision = decision
        return self.desired != before

    def bound(self, bounds: Bounds) -> None:
        """What a person wants; the default gives the number back to the policies.

        Raises:
            Refusal: a minimum above the maximum, or a number that is not between them.
        """
        kept, self.bounds = self.bounds, bounds
        if wrong := self._wrong():
            self.bounds = kept
            raise Refusal(wrong)
        self._scaler.minimum, self._scaler.maximum = self.minimum, self.maximum
        number = self._clamped(self.desired) if bounds.fixed is None else bounds.fixed
        self.decision = Decision(time.time(), self.desired, number, "said by a person", (), self._config.spares)

    def _wrong(self) -> str:
        """What is wrong with the bounds, if anything."""
        fixed, minimum, maximum = self.bounds.fixed, self.minimum, self.maximum
        if minimum > maximum:
            return f"minimum: got {minimum}, expected at most the maximum, {maximum}"
        if fixed is not None and not minimum <= fixed <= maximum:
            return f"replicas: got {fixed}, expected {minimum} to {maximum}"
        return ""

    def _clamped(self, number: int) -> int:
        return min(self.maximum, max(self.minimum, number))
