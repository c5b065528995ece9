"""SWAG and multi-SWAG: Gaussians around iterates of gradient descent (Maddox et al. 2019; Wilson, Izmailov 2020)."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
from jax import lax

from pnol_jax import collectives
from pnol_jax.bases import GridOperands
from pnol_jax.collectives import MEMBER
from pnol_jax.errors import InputError
from pnol_jax.posterior_config import SWAGConfig
from pnol_jax.posteriors import mixture, weights
from pnol_jax.posteriors.averaging import follow
from pnol_jax.posteriors.deterministic import Deterministic
from pnol_jax.posteriors.ensemble import Ensemble
from pnol_jax.posteriors.problem import Problem
from pnol_jax.posteriors.protocol import OPERATOR, Batch, FitBatch, Metrics, Params, constant, trained
from pnol_jax.posteriors.weights import Shape
from pnol_jax.predictive import Predictive
from pnol_jax.sharding.partition import Axes

VARIANCE, DEVIATIONS = "swag.variance.", "swag.deviations."


@dataclass(frozen=True)
class SWAG:
    """Training as the deterministic posterior's or the ensemble's, after which `fit` goes on and keeps iterates.

    Weights are drawn from N(mean, (diag(variance) + D D^T / (rank - 1)) / 2), where D holds the last iterates'
    deviations. "operator.w" is then the mean, "swag.variance.w" the variance and "swag.deviations.w", (rank, *shape),
    the rows of D; `shapes` are those of one member's weights.
    """

    base: Deterministic | Ensemble
    settings: SWAGConfig
    shapes: Mapping[str, Shape]
    unroll: int = 1
    seed: int = 0
    has_samples: bool = True

    def __post_init__(self) -> None:
        kept = self.settings.steps // self.settings.every
        if kept < self.settings.rank:
            raise InputError(
                f"posterior.steps: got {self.settings.steps}, in which {kept} iterates are kept, one in "
                f"{self.settings.every}; expected at least posterior.rank = {self.settings.rank} of them"
            )

    @classmethod
    def build(cls, config: SWAGConfig, problem: Problem) -> "SWAG":
        """From its section of the config."""
        one, training = problem.headed(config), problem.training
        if training.precision == "float16":
            raise InputError(
                "training.precision: got 'float16' with posterior.name = 'swag', whose descent has no scale of the "
                "loss; expected 'bfloat16' or 'float32'"
            )
        base = one if config.members == 1 else Ensemble(one, config.members)
        return cls(base, config, problem.shapes(one), training.unroll, training.seed)

    @property
    def members(self) -> int | None:
        """The trainings of multi-SWAG, None where there is one."""
        return self.base.members

    @property
    def axes(self) -> Mapping[str, Axes]:
        """Those of the operator, and of what is known of its weights."""
        found = dict(self.base.axes)
        for name in self.shapes:
            axes = self.base.axes[OPERATOR + name]
            found |= {VARIANCE + name: axes, DEVIATIONS + name: (None, *axes)}
        return found

    def initial(self, seed: int) -> Params:
        """As the base's."""
        return self.base.initial(seed)

    def loss(self, params: Params, batch: Batch, grid: GridOperands, key: jax.Array) -> tuple[jax.Array, Metrics]:
        """As the base's."""
        return self.base.loss(params, batch, grid, key)

    def fit(self, params: Params, data: Callable[..., Iterable[FitBatch]]) -> Params:
        """Go on with training at a constant rate and keep the moments of the iterates; then as the base."""

        def windows() -> Iterable[FitBatch]:
            return data(unroll=self.unroll) if self.unroll > 1 else data()

        found = follow(
            self.base.loss, trained(params), constant(params), windows, self.settings, self.members, self.seed
        )
        gaussian = dict(found.mean)
        for name in self.shapes:
            gaussian[VARIANCE + name] = found.squares[OPERATOR + name] / found.number
            gaussian[DEVIATIONS + name] = found.last[OPERATOR + name]
        return self.base.fit(params | gaussian, data)

    def drawn(self, params: Params, key: jax.Array) -> Params:
        """The parameters with the weights of one member drawn."""
        own, joint = jax.random.split(key)
        means = {name: params[OPERATOR + name] for name in self.shapes}
        names = self.base.base.names if isinstance(self.base, Ensemble) else self.base.names
        independent = weights.normal(own, means, self.shapes, names)
        common = jax.random.normal(joint, (self.settings.rank,), float) / (2 * (self.settings.rank - 1)) ** 0.5
        found = dict(params)
        for name, mean in means.items():
            together = jnp.tensordot(common.astype(mean.dtype), params[DEVIATIONS + name], axes=1)
            found[OPERATOR + name] = mean + jnp.sqrt(params[VARIANCE + name] / 2) * independent[name] + together
        return found

    def predict(
        self, params: Params, inputs: jax.Array, grid: GridOperands, key: jax.Array, num_samples: int = 0
    ) -> Predictive:
        """The mixture over draws of the weights of every member, the same draws for all cases."""
        of_moments, of_samples, order = jax.random.split(key, 3)
        draws, members = self.settings.draws, self.settings.members

        def each(key: jax.Array, draws: int) -> Predictive:
            stacked = lax.map(lambda key: self._each(params, inputs, grid, key), jax.random.split(key, draws))
            joined: Predictive = jax.tree.map(_joined, stacked)
            return joined

        predictive = mixture.moments(each(of_moments, draws), draws * members)
        if not num_samples:
            return predictive
        enough = -(-num_samples // members)
        samples = mixture.samples(each(of_samples, enough), enough * members, order, num_samples)
        return replace(predictive, samples=samples)

    def advance(
        self, params: Params, inputs: jax.Array, grid: GridOperands, function: jax.Array, noise: jax.Array
    ) -> jax.Array:
        """As `pnol_jax.posteriors.march.Marching` has it: draw i keeps weights of member i mod `members`."""

        def each(key: jax.Array, inputs: jax.Array) -> Predictive:
            return self._each(params, inputs, grid, key, own=True)

        return mixture.advance_in_turn(each, self.settings.members, inputs, function, noise)

    def _each(
        self, params: Params, inputs: jax.Array, grid: GridOperands, key: jax.Array, *, own: bool = False
    ) -> Predictive:
        """What a draw of each member at hand predicts, the members before the batch; `own`: of inputs of its own."""
        if isinstance(self.base, Ensemble):
            return self.base.each(self._drawn_members(params, key), inputs, grid, key, own=own)
        alone = self.base.predict(self.drawn(params, key), inputs[0] if own else inputs, grid, key)
        return jax.tree.map(lambda leaf: leaf[None], alone)  # type: ignore[no-any-return]

    def _drawn_members(self, params: Params, key: jax.Array) -> Params:
        keys = collectives.mine(jax.random.split(key, self.settings.members), MEMBER, 0)
        axes = {name: 1 if name.startswith(DEVIATIONS) else 0 for name in self.axes}
        mine = {name: value for name, value in params.items() if name in axes}
        drawn: Params = jax.vmap(self.drawn, (axes, 0))(mine, keys)
        return params | trained(drawn)


def _joined(leaf: jax.Array) -> jax.Array:
    """(draws, members, ...) -> (members * draws, ...)."""
    draws, members = leaf.shape[:2]
    return jnp.swapaxes(leaf, 0, 1).reshape(members * draws, *leaf.shape[2:])
