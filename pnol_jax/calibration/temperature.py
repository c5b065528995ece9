"""Temperature scaling: one factor on the standard deviation, by the likelihood or by the CRPS."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike
from numpy.typing import NDArray

from pnol_jax.calibration.protocol import Asked
from pnol_jax.calibration.record import check_enough, check_rows, one_of
from pnol_jax.calibration.recorded import READERS, Reader, Recorded
from pnol_jax.calibration.scaling import LEAST, WHY, scaled, squared_scores
from pnol_jax.errors import InputError
from pnol_jax.predictive import Predictive
from pnol_jax.scores.measure import field_mean, residual

Objective = Literal["nll", "crps"]
OBJECTIVES: tuple[Objective, ...] = ("nll", "crps")
TEMPERATURES = np.geomspace(1 / 64, 64, 401)  # where the slope of the CRPS is looked at: 2% apart


def temperature_scores(
    predictive: Predictive, truth: jax.Array, weights: ArrayLike, objective: Objective, unit: ArrayLike = 1.0
) -> jax.Array:
    """What a case says of the temperature T, (batch, numbers).

    "nll": the mean of (truth - mean)^2 / variance, whose mean over cases is the best T^2. "crps": the slope in T of the
    mean CRPS of N(mean, T^2 std^2), at each of TEMPERATURES: std (2 phi(z / T) - 1 / sqrt(pi)) with z = (truth - mean)
    / std, which increases with T. Channels are measured in `unit`, () or (channels,).
    """
    one_of(objective, OBJECTIVES, "calibration.objective")
    if objective == "nll":
        return squared_scores(predictive, truth, weights)[:, None]
    error, std = residual(predictive, truth) / unit, predictive.std / unit
    z = error / jnp.maximum(std, np.finfo(std.dtype).tiny)

    def slope(temperature: jax.Array) -> jax.Array:
        peak = jnp.sqrt(2 / jnp.pi) * jnp.exp(-0.5 * jnp.square(z / temperature))
        return field_mean(std * (peak - 1 / jnp.sqrt(jnp.pi)), weights)

    return jnp.transpose(lax.map(slope, jnp.asarray(TEMPERATURES, std.dtype)))


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class TemperatureScaling(Recorded):
    """Standard deviations times one temperature, and samples moved away from the mean by it.

    It minimises the mean negative log-likelihood or the mean CRPS of the Gaussian over the calibration cases. The
    likelihood weighs a few large errors by their square, the CRPS by their size (Gneiting, Raftery, Westveld, Goldman
    2005, Calibrated probabilistic forecasting using ensemble model output statistics and minimum CRPS estimation).
    """

    method: ClassVar[str] = "temperature_scaling"
    readers: ClassVar[Mapping[str, Reader]] = {
        **READERS,
        "objective": lambda metadata: one_of(metadata.get("objective"), OBJECTIVES, "calibration.objective"),
    }

    temperature: jax.Array  # ()
    objective: Objective = field(metadata={"static": True})
    cases: int = field(metadata={"static": True})

    @classmethod
    def from_scores(cls, scores: ArrayLike, objective: Objective) -> "TemperatureScaling":
        """From the `temperature_scores` of calibration cases, (cases, numbers), of the same objective.

        Raises:
            InputError: too few cases, or a temperature that is not a positive number within what is looked at.
        """
        rows = check_rows(scores, 1 if objective == "nll" else TEMPERATURES.size, "temperature scores")
        check_enough(len(rows), LEAST, WHY)
        mean = rows.mean(axis=0)
        temperature = math.sqrt(mean[0]) if objective == "nll" else _root(mean)
        if not (math.isfinite(temperature) and temperature > 0):
            raise InputError(f"temperature: got {temperature}, expected it positive: is the predicted std zero?")
        return cls(jnp.asarray(temperature, float), objective, len(rows))

    def __call__(self, predictive: Predictive, asked: Asked | None = None) -> Predictive:
        """The same mean, with scaled variances and samples; a band stays as it is."""
        return scaled(predictive, jnp.square(self.temperature))

    @property
    def statement(self) -> str:
        """What is promised, in words."""
        best = {"nll": "the likeliest", "crps": "of the least CRPS"}[self.objective]
        return f"a single factor on the standard deviations, {best}; no promise for a finite number of cases"


def _root(slopes: NDArray[Any]) -> float:
    """Where the slope of the mean CRPS, which increases, is zero; the last step is linear."""
    above = np.flatnonzero(slopes > 0)
    if not above.size or above[0] == 0:
        size = "larger" if not above.size else "smaller"
        raise InputError(f"temperature: got one {size} than 1/64 to 64, expected a std of the size of the errors")
    high = int(above[0])
    low = high - 1
    weight = slopes[high] / (slopes[high] - slopes[low])
    return float(weight * TEMPERATURES[low] + (1 - weight) * TEMPERATURES[high])
