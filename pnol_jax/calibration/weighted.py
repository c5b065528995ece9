"""Bands under covariate shift: calibration cases count by how likely their inputs are where the model is used."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from pnol_jax.calibration.conformal import STATEMENTS
from pnol_jax.calibration.conformity import Kind, check_scores
from pnol_jax.calibration.modulation import Modulation, ModulationKind, read_modulation
from pnol_jax.calibration.protocol import Asked, needed
from pnol_jax.calibration.ratio import LikelihoodRatio
from pnol_jax.calibration.record import Arrays, Metadata, check_enough, exact, read_array, read_cases, read_share
from pnol_jax.calibration.recorded import Recorded, read_kind
from pnol_jax.errors import InputError
from pnol_jax.predictive import Predictive

KEPT = 100  # quantiles of a case that are kept of the pointwise scores: they travel with the model


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class WeightedConformal(Recorded):
    """A split conformal band for inputs of another distribution, of the likelihood ratio w = dP_new / dP_calibration.

    The factor of a new case is the least one that scores of the share `level` of w_1 + ... + w_n + w_new do not exceed,
    the new case counting as if it were outside everywhere; it is infinite where w_new is so large that nothing was
    learned about such inputs. Source: Tibshirani, Barber, Candes, Ramdas 2019, Conformal prediction under covariate
    shift, Corollary 1; pointwise as Angelopoulos et al. 2024, Conformal risk control. The level holds if w
    is the true ratio; an estimate costs as much coverage as it is off (Lei, Candes 2021).
    """

    method: ClassVar[str] = "weighted_conformal"

    scores: jax.Array  # (rows,), increasing
    below: jax.Array  # (rows,), the summed weight of the scores up to each
    ratio: LikelihoodRatio | None  # None: the caller gives the weights
    floor: jax.Array  # () or (channels,)
    level: float = field(metadata={"static": True})
    kind: Kind = field(metadata={"static": True})
    cases: int = field(metadata={"static": True})
    modulation: ModulationKind = field(default="std", metadata={"static": True})

    @classmethod
    def from_scores(
        cls,
        scores: ArrayLike,
        weights: ArrayLike,
        level: float,
        kind: Kind,
        ratio: LikelihoodRatio | None = None,
        *,
        floor: ArrayLike = 0.0,
        modulation: ModulationKind = "std",
    ) -> "WeightedConformal":
        """From the `conformity_scores` of calibration cases, (cases, quantiles), and their likelihood ratios (cases,).

        Raises:
            InputError: weights that are none, or so few cases that one of their mean weight would get no band.
        """
        rows, counts = check_scores(np.asarray(scores), kind), np.asarray(weights, np.float64)
        if counts.shape != rows.shape[:1] or not np.all(np.isfinite(counts) & (counts >= 0)) or not counts.sum() > 0:
            raise InputError(
                f"weights: got {counts.shape} for {len(rows)} cases, expected one a case, positive and finite"
            )
        _check_size(counts, level)
        kept = rows[:, rows.shape[1] // KEPT - 1 :: rows.shape[1] // KEPT] if rows.shape[1] > KEPT else rows
        order = np.argsort(kept, axis=None)
        each = np.broadcast_to(counts[:, None] / kept.shape[1], kept.shape)
        arrays = (kept.ravel()[order], np.cumsum(each.ravel()[order]))
        first, second = (jnp.asarray(leaf, float) for leaf in arrays)
        return cls(first, second, ratio, jnp.asarray(floor, float), float(level), kind, len(rows), modulation)

    def factor(self, weight: jax.Array) -> jax.Array:
        """The factors of new cases with these likelihood ratios, (batch,) -> (batch,)."""
        reached = self.level * (self.below[-1] + weight.astype(self.below.dtype)) * (1 - 1e-6)
        place = jnp.searchsorted(self.below, reached, side="left")
        found = self.scores[jnp.minimum(place, len(self.scores) - 1)]
        return jnp.where(place < len(self.scores), found, jnp.inf).astype(weight.dtype)

    def __call__(
        self, predictive: Predictive, asked: Asked | None = None, weight: jax.Array | None = None
    ) -> Predictive:
        """The same distribution, with the band of each case; `weight`, (batch,), where the ratio is not known here."""
        if weight is None:
            if self.ratio is None:
                raise InputError("weighted_conformal: got no weight, expected the likelihood ratio of each case")
            weight = self.ratio(needed(asked, "weighted_conformal"))
        return Modulation(self.floor, self.modulation, self.level).band(predictive, self.factor(weight))

    @property
    def statement(self) -> str:
        """What is promised, in words."""
        return (
            f"{STATEMENTS[self.kind]}, if only the distribution of the inputs differs from that of the {self.cases} "
            "calibration cases, by the likelihood ratio that weighs them"
        )

    @property
    def guarantee(self) -> Metadata:
        """What is promised, as plain data."""
        return super().guarantee | {"estimated": self.ratio is not None}

    def to_dict(self) -> tuple[Arrays, Metadata]:
        """Arrays by dotted name, and the guarantee."""
        arrays = {"scores": self.scores, "below": self.below, "floor": self.floor}
        if self.ratio is not None:
            arrays |= {f"ratio.{name}": value for name, value in self.ratio.to_dict().items()}
        return {f"weighted_conformal.{name}": value for name, value in arrays.items()}, self.guarantee

    @classmethod
    def from_dict(cls, arrays: Mapping[str, Any], metadata: Mapping[str, Any]) -> "WeightedConformal":
        """The inverse of `to_dict`; other arrays may stand beside."""
        lead = "weighted_conformal."
        return cls(
            scores=read_array(arrays, lead + "scores"),
            below=read_array(arrays, lead + "below"),
            ratio=LikelihoodRatio.from_dict(arrays, lead + "ratio.") if metadata.get("estimated") else None,
            floor=read_array(arrays, lead + "floor"),
            level=read_share(metadata, "level"),
            kind=read_kind(metadata),
            cases=read_cases(metadata),
            modulation=read_modulation(metadata),
        )


def _check_size(weights: np.ndarray[Any, Any], level: float) -> None:
    """A new case's mean weight is sum w^2 / sum w: it is drawn where weights are large."""
    share = exact(level, "calibration.level")
    typical = float(np.square(weights).sum() / weights.sum())
    least = float(share / (1 - share)) * typical / float(weights.mean())
    why = f"for a level of {level:g}, since they count as {weights.sum() / typical:.1f} of the new distribution"
    check_enough(len(weights), int(np.ceil(least - 1e-9)), why)
