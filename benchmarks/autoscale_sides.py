"""The sides of `benchmarks.autoscale`, and what each makes of the traces."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from benchmarks.autoscale_hpa import HPA
from serving.fleet.scaling import Scaler, ScalingConfig
from serving.fleet.scaling.simulation import Outcome, replay
from serving.fleet.scaling.traces import MADE
from serving.fleet.scaling.world import World

OWN = ScalingConfig(spares=0)  # the defaults, but for the spare, which would count as a cost that the HPA does not have
PEAK = 20.0  # requests a second, five replicas' worth
MINIMUM, MAXIMUM = 1, 20
WORLD = World()
TARGETS = tuple(percent / 100 for percent in range(50, 81, 5))
FAST_SECONDS, FAST_WINDOW = 2.0, 10.0  # between its decisions, and of its means
SYNCHRONISATION = 15.0  # seconds, Kubernetes' default; its metrics are means over as long


@dataclass(frozen=True)
class Side:
    """Somebody who decides; `target` is of utilisation, None for our policy."""

    name: str
    target: float | None = None
    read_seconds: float = WORLD.read_seconds
    window_seconds: float = WORLD.window_seconds
    config: ScalingConfig = OWN

    def run(self, trace: str, seed: int) -> Outcome:
        """One trace of one seed, from as many replicas as its first rate needs at a utilisation of 0.6."""
        traffic = MADE[trace](PEAK, seed)
        world = msgspec.structs.replace(WORLD, read_seconds=self.read_seconds, window_seconds=self.window_seconds)
        initial = max(MINIMUM, math.ceil(traffic.rates[0] * world.service_seconds / 0.6))
        return replay(traffic, self._decider().decide, world, initial, seed)

    def _decider(self) -> Scaler | HPA:
        if self.target is None:
            return Scaler(self.config, MINIMUM, MAXIMUM)
        return HPA(self.target, MINIMUM, MAXIMUM, *self._window())

    def _window(self) -> Iterator[float]:
        if self.name.startswith("fast"):
            yield self.config.down.window_seconds


@dataclass(frozen=True)
class Score:
    """Of a side on a trace, or on several that count alike: means over seeds."""

    violations: float  # share of the requests
    replicas: float  # on average over time

    @staticmethod
    def mean(scores: Sequence["Score"]) -> "Score":
        """The scores, each of which counts alike."""
        table = np.mean([(score.violations, score.replicas) for score in scores], axis=0)
        return Score(float(table[0]), float(table[1]))


def score(side: Side, trace: str, seed: int) -> Score:
    """What becomes of a trace."""
    outcome = side.run(trace, seed)
    return Score(outcome.share, outcome.replica_seconds / outcome.line[-1].time)


OURS = Side("ours")
DEFAULTS = tuple(Side(f"HPA at {target:g}", target, SYNCHRONISATION, SYNCHRONISATION) for target in TARGETS)
FAST = tuple(Side(f"fast HPA at {target:g}", target, FAST_SECONDS, FAST_WINDOW) for target in TARGETS)
