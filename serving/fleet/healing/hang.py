"""Replicas that do not answer."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from serving.fleet.healing.config import HealingConfig
from serving.fleet.healing.verdict import Cure, Verdict


@dataclass(frozen=True)
class Silence:
    """How long a replica has not answered its probes, and whether it has ever answered one.

    Only the time of the probes themselves is counted, and of each no more than its deadline: after a pause of the whole
    machine, or of whoever asks, all would seem dead.
    """

    seconds: float = 0.0
    answered: bool = False

    def heard(self) -> "Silence":
        """After an answer that said that it lives."""
        return Silence(0.0, True)

    def missed(self, waited: float, deadline: float) -> "Silence":
        """After a probe without one, which was waited for so long."""
        return replace(self, seconds=self.seconds + min(waited, deadline)) if self.answered else self


def silent(silences: Mapping[str, Silence], config: HealingConfig) -> Iterator[Verdict]:
    """Those that missed a probe get no requests; those that go on being silent are ended.

    One that has never answered is still starting: that has its own patience. Where all of several are silent at once,
    it is rather the machine that is busy or stood still, and to start them all again would make it worse.
    """
    begun = [silence for silence in silences.values() if silence.answered]
    all_at_once = len(begun) > 1 and all(silence.seconds for silence in begun)
    patience = max(config.stall_seconds, config.stall_all_seconds) if all_at_once else config.stall_seconds
    for name, silence in silences.items():
        if silence.seconds >= patience:
            yield Verdict(name, Cure.KILL, f"no answer to a probe for {silence.seconds:.1f} s")
        elif silence.seconds:
            yield Verdict(name, Cure.HOLD, f"missed a probe, no answer for {silence.seconds:.1f} s")
