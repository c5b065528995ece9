"""A few numbers that describe a function, the same on every grid: its spectrum and the moments of its values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray

from pnol_jax import collectives
from pnol_jax.bases import Basis, GridOperands
from pnol_jax.calculus import along
from pnol_jax.collectives import SPACE
from pnol_jax.errors import InputError
from pnol_jax.scores.measure import domain_mean

BANDS = 8
RESOLVED = 0.5  # of the basis' highest wave number: what lies above, a coarse grid aliases
FLOOR = 0.05  # of the mean power of a band, so that the logarithm of a power by chance near zero is no outlier
MOMENTS = 6
TINY = 1e-9  # of a standardised channel's variance


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class SpectralFeatures:
    """Of each channel its power in bands of wave numbers and above them, as logarithms of shares, and its values.

    Powers are mean squares by the coefficients of the operator's basis, of the field in units of `mean` and `std`;
    bands are intervals of the distance of a wave number to the origin. Of the values: mean, log deviation, skewness,
    tailedness, the least and the largest.
    """

    band: jax.Array  # (functions,), of every product of the axes' functions; `bands` for those that are in none
    scale: jax.Array  # (functions,), that makes it of unit mean square, squared
    mean: jax.Array  # (channels,)
    std: jax.Array  # (channels,)
    floor: jax.Array  # (bands + 1, channels)

    @classmethod
    def make(
        cls, bases: Sequence[Basis], lengths: Sequence[float], mean: ArrayLike, std: ArrayLike
    ) -> "SpectralFeatures":
        """Of functions on axes of the given lengths, standardised by mean and deviation, (channels,); no floor yet.

        Raises:
            InputError: the bases have too few modes to tell wave numbers apart.
        """
        waves = [_waves(basis, length) for basis, length in zip(bases, lengths, strict=True)]
        squares = [np.square(wave) for wave, _ in waves]
        radius = np.sqrt(reduce(np.add.outer, squares)).ravel()
        scale = reduce(np.multiply.outer, [scale for _, scale in waves]).ravel()
        highest = min(float(wave.max()) for wave, _ in waves)
        if highest == 0:
            modes = [basis.modes for basis in bases]
            raise InputError(f"features: got operator.modes = {modes}, expected at least 2 on every axis")
        least = min(highest, max(float(np.min(wave[wave > 0])) for wave, _ in waves))
        edges = _edges(least, max(least, RESOLVED * highest))
        band = np.where(radius > 0, np.searchsorted(edges, radius, side="right"), len(edges)).astype(np.int32)
        return cls(
            band=jnp.asarray(band),
            scale=jnp.asarray(scale, float),
            mean=jnp.asarray(mean, float),
            std=jnp.asarray(std, float),
            floor=jnp.zeros((len(edges) + 1, np.size(mean))),
        )

    def fitted(self, power: NDArray[Any]) -> "SpectralFeatures":
        """With a floor from the `power` of cases, (cases, bands, channels); above the bands that of the last."""
        mean = power.mean(axis=0)
        return replace(self, floor=jnp.asarray(FLOOR * np.concatenate([mean, mean[-1:]]), float))

    @property
    def width(self) -> int:
        """How many numbers there are."""
        bands, channels = self.floor.shape
        return (bands + MOMENTS) * channels

    def power(self, field: jax.Array, grid: GridOperands) -> jax.Array:
        """The mean square in each band, (batch, *space, channels) -> (batch, bands, channels)."""
        coefficients = self._standard(field)
        for position, axis in enumerate(grid.axes):
            coefficients = along(coefficients, jnp.asarray(axis.analysis, field.dtype), position)
        square = jnp.square(collectives.total(coefficients, SPACE)).reshape(field.shape[0], -1, field.shape[-1])
        rows = jnp.moveaxis(square * self.scale.astype(field.dtype)[:, None], 1, 0)
        bands = len(self.floor) - 1
        return jnp.moveaxis(jax.ops.segment_sum(rows, self.band, bands + 1)[:bands], 1, 0)

    def __call__(self, field: jax.Array, grid: GridOperands) -> jax.Array:
        """The numbers of each case, (batch, *space, channels) -> (batch, width)."""
        weights, standard = jnp.asarray(grid.weights(), field.dtype), self._standard(field)
        mean = domain_mean(standard, weights)
        off = standard - mean.reshape(field.shape[0], *(1,) * (field.ndim - 2), -1)
        variance = domain_mean(jnp.square(off), weights) + TINY
        in_bands = self.power(field, grid)
        above = jnp.maximum(variance - jnp.sum(in_bands, axis=1), 0)
        powers = jnp.concatenate([in_bands, above[:, None]], axis=1) + self.floor.astype(field.dtype) + TINY
        third, fourth = (domain_mean(off**power, weights) / variance ** (power / 2) for power in (3, 4))
        smallest, largest = (self._largest(sign * standard, weights) * sign for sign in (-1, 1))
        moments = [mean, jnp.log(variance) / 2, third, jnp.log1p(fourth), smallest, largest]
        shares = jnp.log(powers / jnp.sum(powers, axis=1, keepdims=True))
        return jnp.concatenate([shares, jnp.stack(moments, axis=1)], axis=1).reshape(field.shape[0], -1)

    def _largest(self, field: jax.Array, weights: jax.Array) -> jax.Array:
        there = jnp.where(weights[..., None] > 0, field, -jnp.inf)
        return collectives.largest(jnp.max(there, axis=tuple(range(1, field.ndim - 1))), SPACE)

    def _standard(self, field: jax.Array) -> jax.Array:
        return (field - self.mean.astype(field.dtype)) / self.std.astype(field.dtype)

    def to_dict(self) -> dict[str, jax.Array]:
        """The arrays by name, of the shapes of the fields: (functions,), (channels,), (bands + 1, channels)."""
        return {name: getattr(self, name) for name in _ARRAYS}

    @classmethod
    def from_dict(cls, arrays: Mapping[str, Any], lead: str = "") -> "SpectralFeatures":
        """The inverse of `to_dict`, with names that begin with `lead`; others may stand beside.

        Raises:
            InputError: an array is missing.
        """
        missing = [lead + name for name in _ARRAYS if lead + name not in arrays]
        if missing:
            raise InputError(f"features: got no array {missing[0]!r}, expected it beside the weights")
        return cls(*(jnp.asarray(arrays[lead + name]) for name in _ARRAYS))


_ARRAYS = ("band", "scale", "mean", "std", "floor")


def _waves(basis: Basis, length: float) -> tuple[NDArray[Any], NDArray[Any]]:
    """Wave numbers of a basis' functions in cycles per length, and the square that makes each of unit mean square."""
    waves = basis.wave_numbers(length)
    return waves, np.where(waves > 0, 2.0, 1.0) if basis.paired else np.ones_like(waves)


def _edges(least: float, top: float) -> NDArray[Any]:
    """The upper ends of at most BANDS bands of equal ratio, none narrower than the smallest wave number."""
    number = int(min(BANDS, max(1, np.floor(top / least + 0.5))))
    ends = np.geomspace(1.5 * least, top + least / 2, number)
    kept = [ends[0]]
    for end in ends[1:]:
        if end - kept[-1] >= least * (1 - 1e-9):
            kept.append(end)
    return np.asarray(kept)
