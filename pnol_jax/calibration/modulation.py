"""How wide a band is at each point, up to the factor that calibration finds."""

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import jax
import jax.numpy as jnp

from pnol_jax.calibration.record import one_of
from pnol_jax.predictive import Predictive
from pnol_jax.scores.measure import check_shape

ModulationKind = Literal["std", "unit", "quantile"]
MODULATIONS: tuple[ModulationKind, ...] = ("std", "unit", "quantile")


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Modulation:
    """The band centre - factor * below ... centre + factor * above, for a factor that is one number, or one a case.

    - "std": around the mean, below = above = max(std, floor);
    - "unit": around the mean, below = above = floor (1 where it is zero): absolute residuals, in units of the floor;
    - "quantile": around the median, to the quantiles of the central interval of `level`, each at least `floor` away.
      Conformal calibration of these factors is conformalised quantile regression in its scaled form (Kivaranovic,
      Johnson, Leeb 2020, Adaptive, distribution-free prediction intervals for deep networks).

    `floor`, () or (channels,), is in the unit of the outputs and must be fixed beforehand, say from the training cases:
    from the calibration cases it voids the guarantee. It keeps points where the model is sure and exact (a boundary)
    from ruling a supremum.
    """

    floor: jax.Array
    kind: ModulationKind = field(default="std", metadata={"static": True})
    level: float = field(default=0.9, metadata={"static": True})

    def __post_init__(self) -> None:
        one_of(self.kind, MODULATIONS, "calibration.modulation")

    def around(self, predictive: Predictive) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Centre, and the lengths below and above it, each (batch, *space, channels)."""
        mean = predictive.mean
        floor = jnp.asarray(self.floor, mean.dtype)
        if self.kind == "quantile":
            low, centre, high = (predictive.quantile(q) for q in ((1 - self.level) / 2, 0.5, (1 + self.level) / 2))
            return centre, jnp.maximum(centre - low, floor), jnp.maximum(high - centre, floor)
        unit = jnp.broadcast_to(jnp.where(floor > 0, floor, 1), mean.shape)
        length = unit if self.kind == "unit" else jnp.maximum(predictive.std, floor)
        return mean, length, length

    def ratio(self, predictive: Predictive, truth: jax.Array) -> jax.Array:
        """The least factor whose band holds the truth, at each point; 0 where the truth is the centre."""
        check_shape("truth", truth, predictive.mean)
        centre, below, above = self.around(predictive)
        error = truth - centre
        return jnp.where(error == 0, 0, jnp.abs(error) / jnp.where(error < 0, below, above))

    def band(self, predictive: Predictive, factor: jax.Array) -> Predictive:
        """The same distribution, with lower and upper set; `factor` is () or (batch,), infinite for no bound at all."""
        centre, below, above = self.around(predictive)
        factor = factor.reshape(-1, *(1,) * (centre.ndim - 1)) if factor.ndim else factor
        down, up = (jnp.where(jnp.isinf(factor), jnp.inf, factor * length) for length in (below, above))
        return replace(predictive, lower=centre - down, upper=centre + up)


def read_modulation(metadata: Any) -> ModulationKind:
    """The kind in plain data; "std" where it does not say, as it did before there were others."""
    kind: ModulationKind = one_of(metadata.get("modulation", "std"), MODULATIONS, "calibration.modulation")
    return kind
