"""Gaussian random functions in the basis' coefficients: one draw is one function, whatever grid it is looked at on.

The coefficients of the product basis are independent, with the variance of a Matern covariance,

    S(k) = (1 + |length k|^2)^-(smoothness + d / 2),   k the angular wave numbers on axes of length 1, d of them,

cut off at the modes of the basis, and the field is divided by its standard deviation at each point, so that this is one
everywhere. What is drawn depends on the key, the case and the basis alone; a grid only says where the function is
sampled, so a draw on a fine grid is the draw on a coarse one at the points that they share.
"""

from dataclasses import dataclass
from functools import reduce

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from numpy.typing import NDArray

from pnol_jax import collectives
from pnol_jax.bases import Basis, GridOperands
from pnol_jax.calculus import along
from pnol_jax.collectives import CASES
from pnol_jax.errors import InputError
from pnol_jax.posterior_config import NoiseConfig


@dataclass(frozen=True)
class RandomField:
    """Fields of mean zero and variance one at each point: independent numbers ("white") or functions ("correlated")."""

    config: NoiseConfig
    bases: tuple[Basis, ...]

    def __post_init__(self) -> None:
        if self.config.kind == "correlated" and not self.bases:
            raise InputError("posterior.noise: got kind = 'correlated' without bases, expected those of the operator")

    def draw(
        self,
        key: jax.Array,
        grid: GridOperands,
        cases: int,
        channels: int,
        dtype: DTypeLike,
        *,
        by_case: bool = True,
    ) -> jax.Array:
        """A draw for each case at the grid's points, (batch, *space, channels); else one for all of them.

        On padding the numbers mean nothing.
        """
        many = cases if by_case else 1
        if self.config.kind == "white":
            field = collectives.normal(key, (many, *grid.shape, channels), dtype, by_case=by_case)
        else:
            field = self._correlated(key, grid, many, channels, dtype, by_case)
        return field if by_case else jnp.broadcast_to(field, (cases, *field.shape[1:]))

    def _correlated(
        self, key: jax.Array, grid: GridOperands, cases: int, channels: int, dtype: DTypeLike, by_case: bool
    ) -> jax.Array:
        scale = jnp.asarray(self._scale(), dtype)[..., None]

        def of(case: jax.Array) -> jax.Array:
            return scale * jax.random.normal(jax.random.fold_in(key, case), (*scale.shape[:-1], channels), dtype)

        first = collectives.index(CASES) * cases if by_case else 0
        field = jax.vmap(of)(first + jnp.arange(cases))
        variance = jnp.square(scale)[None]
        for position, axis in enumerate(grid.axes):
            synthesis = jnp.swapaxes(jnp.asarray(axis.synthesis, dtype), -1, -2)
            field = along(field, synthesis, position)
            variance = along(variance, jnp.square(synthesis), position)
        return field / jnp.sqrt(jnp.where(variance > 0, variance, 1))

    def _scale(self) -> NDArray[np.float64]:
        """The standard deviation of each coefficient, (*functions), so that functions of the basis have unit size."""
        square = reduce(np.add.outer, [np.square(self.config.length * basis.waves()) for basis in self.bases])
        power = -(self.config.smoothness + len(self.bases) / 2) / 2
        sizes = reduce(np.multiply.outer, [basis.sizes() for basis in self.bases])
        return np.asarray((1 + square) ** power / sizes)
