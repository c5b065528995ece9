"""What is looked at of a case to tell whether it is strange, against what the training cases showed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pnol_jax.calibration.protocol import Asked
from pnol_jax.calibration.record import Arrays
from pnol_jax.features import SpectralFeatures
from pnol_jax.ood.gaussian import FeatureGaussian
from pnol_jax.predictive import Predictive
from pnol_jax.scores.measure import field_mean

NAMES = ("input_spectrum", "input_neighbours", "output_spectrum", "epistemic")


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Components:
    """Logarithms of four numbers of a case, larger where it is stranger.

    The largest deviation among its input's features, their distance to the fifth nearest training case, the largest
    deviation among the features of the predicted mean, and, of a posterior that has one, the root of the epistemic
    energy. Features are powers in bands of wave numbers and moments of the values, so that the same function has the
    same ones on every grid.
    """

    inputs: SpectralFeatures
    outputs: SpectralFeatures
    of_inputs: FeatureGaussian
    of_outputs: FeatureGaussian
    epistemic: bool = field(metadata={"static": True})

    @property
    def names(self) -> tuple[str, ...]:
        """Of the numbers, in their order."""
        return NAMES if self.epistemic else NAMES[:-1]

    def __call__(self, predictive: Predictive, asked: Asked) -> jax.Array:
        """The numbers of each case, (batch, numbers), of the posterior's predictive before calibration."""
        given, made = self.inputs(asked.inputs, asked.grid), self.outputs(predictive.mean, asked.grid)
        parts = [self.of_inputs.largest(given), self.of_inputs.nearest(given), self.of_outputs.largest(made)]
        if self.epistemic:
            unit = jnp.square(self.outputs.std.astype(predictive.mean.dtype))
            energy = field_mean(predictive.epistemic / unit, asked.grid.weights())
            parts.append(jnp.log(energy + np.finfo(energy.dtype).tiny) / 2)
        return jnp.stack(parts, axis=-1)

    def to_dict(self) -> Arrays:
        """The arrays by dotted name."""
        arrays: Arrays = {}
        for part in ("inputs", "outputs", "of_inputs", "of_outputs"):
            arrays |= {f"{part}.{name}": value for name, value in getattr(self, part).to_dict().items()}
        return arrays

    @classmethod
    def from_dict(cls, arrays: Mapping[str, Any], epistemic: bool) -> "Components":
        """The inverse of `to_dict`; other arrays may stand beside."""
        return cls(
            SpectralFeatures.from_dict(arrays, "inputs."),
            SpectralFeatures.from_dict(arrays, "outputs."),
            FeatureGaussian.from_dict(arrays, "of_inputs."),
            FeatureGaussian.from_dict(arrays, "of_outputs."),
            epistemic,
        )
