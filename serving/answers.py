"""What an answer is, and its outputs made of what the programs gave."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from pnol_jax.quantiles import Levels, quantile
from pnol_jax.servable import Bucket, Channel, Manifest
from serving.ladder import Ladder
from serving.monitoring.stages import Stages
from serving.query import DEFAULT_LEVEL

Arrays = Mapping[str, NDArray[np.float32]]


class Interval(msgspec.Struct, frozen=True):
    """What an answer's lower and upper are.

    The band of the calibration, with its guarantee; or quantiles at each point, which promise nothing: those that the
    model states, else a Gaussian's.
    """

    level: float
    kind: Literal["conformal", "quantiles", "gaussian"]
    guarantee: dict[str, Any] | None = None


class Approximation(msgspec.Struct, frozen=True):
    """The answer is that to other inputs, so far from these: nothing is promised of the distance of the outputs.

    The largest deviation at any point over the largest magnitude of the inputs asked, of the case and channel where
    that is largest; and the bound that the service's settings put on it.
    """

    input_distance: float
    input_distance_bound: float


@dataclass(frozen=True, eq=False)
class Answer:
    """The outputs that were asked for, in physical units.

    arrays: (cases, *space, channels), samples (cases, num_samples, *space, channels), figures (cases,); without the
    cases axis where the query had none. `cached`: nothing had to be computed. `approximate`: if it was computed for
    other inputs. `stated`: what is said of outputs that the caller named (`serving.derived`), and of an abstention that
    is only marked. `id`: by which a truth may name the request, where it is remembered. `repeatable`: that the same
    bytes may get the same response again without being read; the seconds that it once took to compute. `stages`: where
    the time of the version's requests is counted.
    """

    arrays: dict[str, NDArray[np.float32]]
    manifest: Manifest
    bucket: Bucket
    interval: Interval | None
    cached: bool
    stages: Stages
    approximate: Approximation | None = None
    id: str | None = None
    repeatable: float | None = None
    stated: Mapping[str, msgspec.Struct] = field(default_factory=dict)

    @property
    def channels(self) -> tuple[Channel, ...]:
        """The channels of every array."""
        return self.manifest.signature.outputs


def find_interval(level: float | None, ladder: Ladder) -> Interval:
    """The calibrated band where there is one of that level, else an interval of the model's own."""
    calibration = ladder.servable.manifest.calibration
    if ladder.servable.has_band and calibration is not None:
        calibrated = float(calibration["level"])
        if level is None or math.isclose(level, calibrated, rel_tol=0, abs_tol=1e-9):
            return Interval(calibrated, "conformal", calibration)
    kind: Literal["quantiles", "gaussian"] = "quantiles" if ladder.servable.manifest.signature.levels else "gaussian"
    return Interval(DEFAULT_LEVEL if level is None else level, kind)


def output_of(
    name: str, arrays: Arrays, interval: Interval | None, num_samples: int, levels: Levels
) -> NDArray[np.float32]:
    """An output, (cases, *space, channels) or as `Answer.arrays` has it, from what the programs gave."""
    if name == "samples":
        draws: NDArray[np.float32] = arrays["samples"][:, :num_samples]
        return draws
    if name in ("lower", "upper") and interval is not None:
        if interval.kind == "conformal":
            return arrays[name]
        score = NormalDist().inv_cdf((1 + interval.level) / 2)
        score = -score if name == "lower" else score
        if interval.kind == "quantiles":
            stated: NDArray[np.float32] = quantile(levels, np.moveaxis(arrays["quantiles"], 1, 0), score)
            return stated.astype(np.float32)
        return arrays["mean"] + np.float32(score) * _std(arrays)
    return _std(arrays) if name == "std" else arrays[name]


def _std(arrays: Arrays) -> NDArray[np.float32]:
    std: NDArray[np.float32] = np.sqrt(arrays["aleatoric"] + arrays["epistemic"])
    return std
