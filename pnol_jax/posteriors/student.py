"""One operator whose noise is Student's t: residuals with heavy tails neither pull the mean nor widen every interval.

At each point the outputs are mean + scale * T with T of nu degrees of freedom (Lange, Little, Taylor 1989, Robust
statistical modeling using the t distribution, in one dimension), and training minimises the mean over the domain of

    -log p(y) = log B(nu / 2, 1 / 2) + log(nu) / 2 + log(scale) + (nu + 1) / 2 * log(1 + ((y - mean) / scale)^2 / nu),

in which a residual far out weighs little. The variance, nu / (nu - 2) * scale^2, is finite: nu > 2 as parametrised.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.special import betainc, betaln

from pnol_jax import quantiles
from pnol_jax.bases import GridOperands
from pnol_jax.errors import InputError
from pnol_jax.posterior_config import StudentConfig
from pnol_jax.posteriors import losses
from pnol_jax.posteriors.deterministic import Deterministic
from pnol_jax.posteriors.problem import Problem
from pnol_jax.posteriors.protocol import NORMALISER, OPERATOR, Batch, FitBatch, Metrics, Params
from pnol_jax.posteriors.random_field import RandomField
from pnol_jax.posteriors.units import normal_outputs, physical
from pnol_jax.predictive import Predictive
from pnol_jax.sharding.partition import Axes

DEGREES = OPERATOR + "noise.degrees"  # of freedom, trained: what softplus makes nu - 2 of
QUANTILES = "noise.quantiles"  # of T at the levels, (levels, outputs)
START = 3.0  # nu is about 5 when training begins, and weight decay pulls it there
LEAST = 1e-3  # that nu is over 2


@dataclass(frozen=True)
class Student:
    """A mean and a scale by `base`, an operator with a head; `degrees` of freedom, trained for each channel if None.

    Quantiles of t are stated at `levels`, and between and beyond them the distribution is as `pnol_jax.quantiles` has
    it: drawn fields too, whose ranks are a random field's. All variance is aleatoric, as it is one operator's.
    """

    base: Deterministic
    levels: quantiles.Levels
    noise: RandomField
    degrees: float | None = None
    members: int | None = None
    has_samples: bool = True

    def __post_init__(self) -> None:
        if len(self.levels) < 2 or sorted(set(self.levels)) != list(self.levels):
            raise InputError(f"posterior.levels: got {list(self.levels)}, expected at least two that rise")

    @classmethod
    def build(cls, config: StudentConfig, problem: Problem) -> "Student":
        """From its section of the config."""
        problem.check_loss("student", "the likelihood of its noise", same="nll")
        base = problem.network(problem.outputs, heteroscedastic=True)
        degrees = None if config.degrees == "trained" else config.degrees
        return cls(base, tuple(config.levels), RandomField(config.noise, problem.bases), degrees)

    @property
    def axes(self) -> Mapping[str, Axes]:
        """Those of the operator; the degrees of freedom are not divided."""
        return {**self.base.axes, **({} if self.degrees else {DEGREES: (None,)})}

    def initial(self, seed: int) -> Params:
        """As the deterministic posterior's."""
        return self.base.initial(seed) | ({} if self.degrees else {DEGREES: jnp.zeros(self.base.outputs)})

    def excess(self, params: Params) -> jax.Array:
        """The degrees of freedom nu less two, (outputs,), positive."""
        if self.degrees:
            return jnp.full(self.base.outputs, self.degrees - 2)
        return jax.nn.softplus(params[DEGREES] + START) + LEAST

    def loss(self, params: Params, batch: Batch, grid: GridOperands, key: jax.Array) -> tuple[jax.Array, Metrics]:
        """The negative log-likelihood, or its mean over the steps of a trajectory."""
        return self.base.over_steps(self._one_step, self.base.mean, params, batch, grid, key)

    def _one_step(self, params: Params, batch: Batch, grid: GridOperands) -> tuple[jax.Array, Metrics]:
        mean, square = self.base.moments(params, batch.inputs, grid)
        assert square is not None
        nll = student_nll(mean, square, 2 + self.excess(params), normal_outputs(params, batch.outputs), grid)
        return nll, {"relative_l2": losses.relative_l2(physical(params, mean), batch.outputs, grid)}

    def fit(self, params: Params, data: Callable[..., Iterable[FitBatch]]) -> Params:
        """The quantiles of t with the degrees of freedom that were trained."""
        return params | {QUANTILES: student_quantiles(self.levels, 2 + self.excess(params))}

    def predict(
        self, params: Params, inputs: jax.Array, grid: GridOperands, key: jax.Array, num_samples: int = 0
    ) -> Predictive:
        """Mean, the variance of the noise, and its quantiles."""
        mean, square = self.base.moments(params, inputs, grid)
        assert square is not None
        found = mean + jnp.sqrt(square) * params[QUANTILES].reshape(len(self.levels), *(1,) * (mean.ndim - 1), -1)

        def sample(key: jax.Array) -> jax.Array:
            ranks = self.noise.draw(key, grid, mean.shape[0], self.base.outputs, mean.dtype)
            return physical(params, quantiles.quantile(self.levels, found, ranks))

        return Predictive(
            mean=physical(params, mean),
            aleatoric=params[NORMALISER + "outputs.std"] ** 2 * square * (1 + 2 / self.excess(params)),
            epistemic=jnp.zeros_like(mean),
            samples=lax.map(sample, jax.random.split(key, num_samples)) if num_samples else None,
            quantiles=physical(params, found),
            levels=self.levels,
        )


def student_nll(
    mean: jax.Array, square: jax.Array, degrees: jax.Array, truth: jax.Array, grid: GridOperands
) -> jax.Array:
    """Negative logarithm of t's density at each point, averaged over domain, cases and channels: a number.

    mean, truth, and the squared scale (batch, *space, channels), degrees of freedom (channels,) -> ().
    """
    constant = betaln(degrees / 2, jnp.full_like(degrees, 0.5)) + 0.5 * jnp.log(degrees)
    tail = 0.5 * (degrees + 1) * jnp.log1p(jnp.square(truth - mean) / (square * degrees))
    return losses.batch_mean(losses.domain_mean(constant + 0.5 * jnp.log(square) + tail, grid))


def student_quantiles(levels: quantiles.Levels, degrees: jax.Array) -> jax.Array:
    """The quantiles of t at the levels, by bisection: degrees (channels,) -> (levels, channels).

    With t = sqrt(nu) tan(a), the mass between -t and t is I_x(1 / 2, nu / 2), x = sin^2(a) (Abramowitz, Stegun 26.7.1).
    """
    inside = jnp.abs(2 * jnp.asarray(levels, degrees.dtype) - 1)[:, None]
    half = jnp.broadcast_to(degrees / 2, (len(levels), *degrees.shape))

    def halve(_: int, ends: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = ends
        middle = (low + high) / 2
        below = betainc(jnp.full_like(half, 0.5), half, jnp.square(jnp.sin(middle))) < inside
        return jnp.where(below, middle, low), jnp.where(below, high, middle)

    angle = lax.fori_loop(0, 60, halve, (jnp.zeros_like(half), jnp.full_like(half, math.pi / 2)))[0]
    signs = jnp.asarray([math.copysign(1, level - 0.5) for level in levels], degrees.dtype)[:, None]
    return signs * jnp.sqrt(degrees) * jnp.tan(angle)
