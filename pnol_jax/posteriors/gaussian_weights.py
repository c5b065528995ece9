"""A Gaussian over chosen weights: independent ones, and directions in which all move together.

The covariance is diag(s^2) + F F^T, with s > 0 and a factor F of `rank` columns; the prior is N(0, p^2) for each. For a
weight `w`, "operator.w" is its mean; "operator.deviation.w" is log(s / p), so that weight decay pulls to the prior; and
"operator.factor.w", (rank, *shape), holds its rows of F.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from pnol_jax import collectives
from pnol_jax.collectives import CASES
from pnol_jax.errors import InputError
from pnol_jax.operators.functional import PROJECTION, ready
from pnol_jax.patterns import check, fits
from pnol_jax.posterior_config import VariationalConfig
from pnol_jax.posteriors import weights
from pnol_jax.posteriors.protocol import OPERATOR, Params
from pnol_jax.posteriors.weights import Shape
from pnol_jax.sharding.partition import Axes

DEVIATION, FACTOR = OPERATOR + "deviation.", OPERATOR + "factor."


@dataclass(frozen=True)
class GaussianWeights:
    """The Gaussian of the weights in `shapes`, by name; `names` are the logical names of their dimensions.

    Args:
        rank: columns of the factor, 0 for none.
        prior: standard deviation of every weight before there is data.
        start: standard deviation when training begins, as a share of the prior's.
    """

    shapes: Mapping[str, Shape]
    names: Mapping[str, Axes]
    rank: int
    prior: float
    start: float

    @classmethod
    def choose(
        cls,
        config: VariationalConfig,
        shapes: Mapping[str, Shape],
        names: Mapping[str, Axes],
        last_layer: Sequence[str],
    ) -> "GaussianWeights":
        """Those of an operator's weights that the config's patterns name; its last layer if there are none.

        Raises:
            InputError: a pattern fits no parameter, or there is neither a pattern nor a last layer.
        """
        patterns = config.parameters or [OPERATOR + name for name in last_layer]
        if not patterns:
            raise InputError(
                "posterior.parameters: got none, and this operator names no last layer; expected patterns such as "
                f"'{OPERATOR}{next(iter(shapes))}'"
            )
        check("posterior.parameters", patterns, [OPERATOR + name for name in shapes])
        chosen = {name: shape for name, shape in shapes.items() if fits(OPERATOR + name, patterns)}
        return cls(chosen, names, config.rank, config.prior, config.initial)

    @property
    def local(self) -> Collection[str]:
        """Those of a layer whose outputs can be drawn in their place."""
        return frozenset(name for name in self.shapes if fits(name, [PROJECTION]))

    @property
    def axes(self) -> Mapping[str, Axes]:
        """The logical names of the dimensions of what is trained beside the means."""
        deviations: dict[str, Axes] = {DEVIATION + name: self.names[name] for name in self.shapes}
        factors: dict[str, Axes] = {FACTOR + name: (None, *self.names[name]) for name in self.shapes}
        return deviations | factors if self.rank else deviations

    def initial(self, seed: int) -> Params:
        """Deviations of the share `start` of the prior's; of the factor's entries too, all columns together."""
        deviations = {
            DEVIATION + name: jnp.full(shape, jnp.log(self.start), float) for name, shape in self.shapes.items()
        }
        if not self.rank:
            return deviations
        key, size = jax.random.key(seed), self.start * self.prior / self.rank**0.5
        factors = {
            FACTOR + name: size * jax.random.normal(weights.of_name(key, name), (self.rank, *shape), float)
            for name, shape in self.shapes.items()
        }
        return deviations | factors

    def deviation(self, params: Params, name: str) -> jax.Array:
        """The standard deviation s of each entry of a weight, of any shape."""
        return self.prior * jnp.exp(params[DEVIATION + name])

    def deviations(self, params: Params, names: Collection[str]) -> Params:
        """The standard deviations of some weights as their layers take them."""
        return {name: ready(self.deviation(params, name), self.names[name]) for name in names}

    def draw(self, params: Params, key: jax.Array, apart: Collection[str] = ()) -> Params:
        """The parameters with the weights drawn by the key, (); of those `apart` only what moves them together."""
        own, joint = jax.random.split(key)
        shapes = {name: shape for name, shape in self.shapes.items() if name not in apart}
        independent = weights.normal(own, {name: params[OPERATOR + name] for name in shapes}, shapes, self.names)
        common = jax.random.normal(joint, (self.rank,), float)
        drawn = dict(params)
        for name in self.shapes:
            mean = params[OPERATOR + name]
            if name in independent:
                mean = mean + self.deviation(params, name) * independent[name]
            if self.rank:
                mean = mean + jnp.tensordot(common.astype(mean.dtype), params[FACTOR + name], axes=1)
            drawn[OPERATOR + name] = mean
        return drawn

    def divergence(self, params: Params) -> jax.Array:
        """KL(q || prior) in closed form, in nats, ().

        (sum(s^2 + m^2) + |F|^2) / (2 p^2) - n / 2 - sum(log(s / p)) - log det(1 + F^T diag(s^-2) F) / 2.
        """
        total, inner = jnp.zeros(()), jnp.eye(self.rank)
        for name, shape in self.shapes.items():
            mean, log_share, axes = params[OPERATOR + name], params[DEVIATION + name], self.names[name]
            here = 0.5 * jnp.sum(jnp.square(mean / self.prior) + jnp.exp(2 * log_share) - 1 - 2 * log_share)
            if self.rank:
                factor = params[FACTOR + name] / self.prior
                here = here + 0.5 * jnp.sum(jnp.square(factor))
                scaled = (factor * jnp.exp(-log_share)).reshape(self.rank, -1)
                inner = inner + weights.total(scaled @ scaled.T, mean, shape, axes)
            total = total + weights.total(here, mean, shape, axes)
        if self.rank:
            total = total - jnp.sum(jnp.log(jnp.diagonal(jnp.linalg.cholesky(inner))))
        return collectives.mean(total, CASES)
