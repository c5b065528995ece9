"""What every posterior returns: the distribution of the outputs at each point, in physical units."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtri
from jax.typing import ArrayLike

from pnol_jax.errors import InputError
from pnol_jax.quantiles import Levels, quantile


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Predictive:
    """Moments at each point; draws of whole fields, quantiles, a calibrated band where there are some.

    Args:
        mean: (batch, *space, channels).
        aleatoric: variance of the noise, (batch, *space, channels).
        epistemic: variance that more data would remove, (batch, *space, channels).
        samples: draws, (num_samples, batch, *space, channels).
        lower: a calibrated band's lower end, (batch, *space, channels); only with `upper`.
        upper: its upper end.
        quantiles: of the distribution at each point where it is given by them, (levels, batch, *space, channels), and
            not the Gaussian of the moments (`pnol_jax.quantiles`); only with `levels`.
        levels: their levels, rising.
        figures: what else is said of each case, by name, (batch,).

    Raises:
        InputError: shapes that do not belong together.
    """

    mean: jax.Array
    aleatoric: jax.Array
    epistemic: jax.Array
    samples: jax.Array | None = None
    lower: jax.Array | None = None
    upper: jax.Array | None = None
    quantiles: jax.Array | None = None
    levels: Levels = field(default=(), metadata={"static": True})
    figures: Mapping[str, jax.Array] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.quantiles, jax.Array) and not self.levels:
            raise InputError("predictive: got quantiles without levels, expected both, or neither")
        if (self.lower is None) != (self.upper is None):
            raise InputError("predictive: got one end of a band, expected lower and upper, or neither")
        for name in ("aleatoric", "epistemic", "lower", "upper"):
            self._agree(name, 0)
        # Under vmap another axis stands before that of the samples, so only what follows the batch is compared.
        self._agree("samples", 1)
        self._agree("quantiles", 1)

    def _agree(self, name: str, lead: int) -> None:
        got, mean = _shape(getattr(self, name)), _shape(self.mean)
        if got is not None and mean is not None and got[2 * lead :] != mean[lead:]:
            before = f"({'num_samples' if name == 'samples' else 'levels'}, batch, " if lead else "("
            expected = f"{before}{', '.join(map(str, mean[lead:]))})"
            raise InputError(f"predictive.{name}: got shape {got}, expected {expected} as the mean's {mean}")

    @property
    def variance(self) -> jax.Array:
        """Aleatoric and epistemic together, (batch, *space, channels)."""
        return self.aleatoric + self.epistemic

    @property
    def std(self) -> jax.Array:
        """The standard deviation, (batch, *space, channels)."""
        return jnp.sqrt(self.variance)

    @property
    def band(self) -> tuple[jax.Array, jax.Array]:
        """The calibrated band, (lower, upper).

        Raises:
            InputError: no calibrator has set one.
        """
        if self.lower is None or self.upper is None:
            raise InputError("predictive: got no band, expected the answer of a conformal calibrator")
        return self.lower, self.upper

    def quantile(self, q: ArrayLike) -> jax.Array:
        """The quantile at each point: by stated ones, else of the samples, where there are some, or of the Gaussian.

        The k-th smallest of m samples stands for k / (m + 1), the share of truths below it if they are drawn as the
        samples are (Weibull's positions); beyond the smallest and the largest the samples say nothing more.

        Args:
            q: shares in (0, 1), (*shares).

        Returns:
            (*shares, batch, *space, channels).
        """
        q = _share(q, "quantile", self.mean)
        z = ndtri(q).reshape(q.shape + (1,) * self.mean.ndim)
        if self.quantiles is not None:
            stated: jax.Array = quantile(self.levels, self.quantiles, z)
            return stated
        if self.samples is None:
            return self.mean + self.std * z
        m = self.samples.shape[0]
        position = (q * (m + 1) - 1) / max(m - 1, 1)
        return jnp.quantile(self.samples, jnp.clip(position, 0, 1), axis=0)

    def interval(self, level: float | jax.Array) -> tuple[jax.Array, jax.Array]:
        """The central interval at each point that holds the truth with probability `level`, (lower, upper).

        It follows from the stated quantiles, samples or moments alone; what a calibrator set is `band`.
        """
        level = _share(level, "level", self.mean)
        return self.quantile((1 - level) / 2), self.quantile((1 + level) / 2)


def _shape(leaf: Any) -> tuple[int, ...] | None:
    """None for what is not an array: JAX also builds trees of axes, shardings and shapes."""
    return leaf.shape if isinstance(leaf, jax.Array) else None


def _share(value: ArrayLike, what: str, like: jax.Array) -> jax.Array:
    if isinstance(value, float | int) and not 0 < value < 1:
        raise InputError(f"{what}: got {value}, expected a number between 0 and 1")
    return jnp.asarray(value, like.dtype)
