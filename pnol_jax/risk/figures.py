"""Quantities that somebody decides by, and what a predictive says of them: figures of each case."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp

from pnol_jax import collectives, quantiles
from pnol_jax.bases import GridOperands
from pnol_jax.calculus import integral
from pnol_jax.collectives import SPACE
from pnol_jax.errors import InputError
from pnol_jax.normal import cdf
from pnol_jax.predictive import Predictive
from pnol_jax.risk import draws, gaussian
from pnol_jax.risk.region import Box, inside

Statistic = Literal["mean", "largest", "smallest", "share"]
Moments = tuple[jax.Array, jax.Array, jax.Array]
Figures = dict[str, jax.Array]


@dataclass(frozen=True)
class Risk:
    """A number that a field has in a part of the domain, one output channel.

    `statistic`: "mean" over the box, a linear functional; "largest", which exceeds a threshold where any point does;
    "smallest", which does where all do; "share" of the box above the threshold. Figures of each case, by name:
    NAME.mean, NAME.std; NAME.exceedance, the probability that the number exceeds `threshold`; NAME.tail, its mean over
    the largest share 1 - level (conditional value at risk). Of "share" there is NAME.mean only.
    """

    name: str
    channel: int = 0
    box: Box = ()
    statistic: Statistic = "mean"
    threshold: float | None = None
    level: float = 0.9

    def __post_init__(self) -> None:
        if self.statistic == "share" and self.threshold is None:
            raise InputError(f"risk {self.name!r}: got statistic = 'share' without a threshold, expected one")
        if not 0 < self.level < 1:
            raise InputError(f"risk {self.name!r}: got level = {self.level}, expected a number between 0 and 1")

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its figures."""
        parts = ["mean"] if self.statistic == "share" else ["mean", "std", "tail"]
        if self.threshold is not None and self.statistic != "share":
            parts.append("exceedance")
        return tuple(f"{self.name}.{part}" for part in parts)

    @property
    def of_marginals(self) -> bool:
        """Whether the distributions at each point are enough."""
        return self.statistic == "share"


def linear_weights(risks: Sequence[Risk], grid: GridOperands, channels: int) -> jax.Array:
    """Weights w by which means over boxes are functionals int sum_c w_c u_c dx, (functionals, *space, channels).

    With operands per case (functionals, batch, *space, channels). They go with the quadrature of the grid at hand, so
    that a constant has itself as its mean.
    """
    quadrature = jnp.asarray(grid.weights())
    each = []
    for risk in risks:
        here = inside(grid, risk.box)
        size = collectives.total(jnp.sum(quadrature * here, axis=tuple(range(1, here.ndim)), keepdims=True), SPACE)
        each.append((here / size)[..., None] * jnp.eye(channels)[risk.channel])
    weights = jnp.stack(each)
    return weights if grid.batched else weights[:, 0]


def from_functional(
    risks: Sequence[Risk],
    moments: Moments,
    weights: jax.Array,
    before: Predictive,
    after: Predictive,
    grid: GridOperands,
) -> Figures:
    """Figures of means, whose distribution is normal, from a posterior's exact functionals.

    Args:
        risks: with the statistic "mean".
        moments: mean, aleatoric and epistemic variance of the functionals, (batch, functionals) each.
        weights: of the functionals, as `linear_weights` gives them.
        before: the predictive that the moments belong to.
        after: the same after calibration: the functional's mean is that of its mean, and its variance is scaled as the
            variances at its points are, in the mean over w^2. Of a scaling by one factor that is exact.
        grid: the operands of the grid.
    """
    figures: Figures = {}
    for position, risk in enumerate(risks):
        one: Moments = tuple(part[:, position] for part in moments)  # type: ignore[assignment]
        mean, variance = functional_after(one, weights[position], before, after, grid)
        figures |= _of_normal(risk, mean, variance)
    return figures


def functional_after(
    moments: Moments, weights: jax.Array, before: Predictive, after: Predictive, grid: GridOperands
) -> tuple[jax.Array, jax.Array]:
    """Mean and variance of one functional after calibration, (batch,) each, from its moments before, (batch,) each.

    `weights`: (*space, channels), or (batch, *space, channels); the rest as `from_functional` has it. Where calibration
    leaves the predictive as it was, variances at points are not computed.
    """
    if all(getattr(after, name) is getattr(before, name) for name in ("mean", "aleatoric", "epistemic")):
        return moments[0], moments[1] + moments[2]
    w = weights.astype(after.mean.dtype)
    spread, unscaled, moved = (
        jnp.sum(integral(part, grid), axis=-1)
        for part in (w**2 * after.variance, w**2 * before.variance, w * (after.mean - before.mean))
    )
    scale = jnp.where(unscaled > 0, spread / unscaled, 1)  # of no weights at all there is nothing to scale
    return moments[0] + moved, scale * (moments[1] + moments[2])


def _of_normal(risk: Risk, mean: jax.Array, variance: jax.Array) -> Figures:
    figures = {"mean": mean, "std": jnp.sqrt(variance), "tail": gaussian.tail_mean(mean, variance, risk.level)}
    if risk.threshold is not None:
        figures["exceedance"] = gaussian.exceedance(mean, variance, risk.threshold)
    return _named(risk, figures)


def from_draws(risks: Sequence[Risk], predictive: Predictive, grid: GridOperands) -> Figures:
    """Figures of any risks from draws of whole fields.

    Raises:
        InputError: there are no draws, or too few for a tail.
    """
    if predictive.samples is None:
        raise InputError("risk: got a predictive without samples, expected draws of whole fields")
    figures: Figures = {}
    for risk in risks:
        values = jax.vmap(lambda field, risk=risk: true_value(risk, field, grid))(predictive.samples)
        found = {"mean": jnp.mean(values, axis=0)}
        if not risk.of_marginals:
            found |= {"std": jnp.std(values, axis=0, ddof=1), "tail": draws.tail_mean(values, risk.level)}
            if risk.threshold is not None:
                found["exceedance"] = draws.exceedance(values, risk.threshold)
        figures |= _named(risk, found)
    return figures


def from_marginals(risks: Sequence[Risk], predictive: Predictive, grid: GridOperands) -> Figures:
    """Figures of shares above a threshold: their means follow from the distribution at each point.

    That of stated quantiles where there are some, else the normal one.

    Raises:
        InputError: a risk that needs the joint distribution.
    """
    figures: Figures = {}
    for risk in risks:
        if not risk.of_marginals or risk.threshold is None:
            raise InputError(
                f"risk {risk.name!r}: got variances at each point, from which that of a {risk.statistic} over a region "
                "does not follow; expected draws, or a posterior with exact functionals"
            )
        above = _exceedance(predictive, risk.threshold)[..., risk.channel]
        figures |= _named(risk, {"mean": _box_mean(above, grid, risk.box)})
    return figures


def _exceedance(predictive: Predictive, threshold: float) -> Any:
    if predictive.quantiles is None:
        return gaussian.exceedance(predictive.mean, predictive.variance, threshold)
    at = jnp.full_like(predictive.mean, threshold)
    return cdf(-quantiles.score(predictive.levels, predictive.quantiles, at))


def true_value(risk: Risk, field: jax.Array, grid: GridOperands) -> jax.Array:
    """The number itself of a known field, (batch, *space, channels) -> (batch,)."""
    values, axes = field[..., risk.channel], tuple(range(1, field.ndim - 1))
    if risk.statistic == "mean":
        return _box_mean(values, grid, risk.box)
    if risk.threshold is not None and risk.statistic == "share":
        return _box_mean((values > risk.threshold).astype(values.dtype), grid, risk.box)
    sign = 1 if risk.statistic == "largest" else -1
    there = jnp.where(inside(grid, risk.box) > 0, sign * values, -jnp.inf)
    return sign * collectives.largest(jnp.max(there, axis=axes), SPACE)


def _box_mean(values: jax.Array, grid: GridOperands, box: Box) -> jax.Array:
    weight = jnp.asarray(grid.weights(), values.dtype) * inside(grid, box)
    axes = tuple(range(1, values.ndim))
    here = jnp.sum(jnp.where(weight == 0, 0, weight * values), axis=axes)
    return collectives.total(here, SPACE) / collectives.total(jnp.sum(weight, axis=axes), SPACE)


def _named(risk: Risk, figures: Mapping[str, jax.Array]) -> Figures:
    return {f"{risk.name}.{part}": value for part, value in figures.items()}
