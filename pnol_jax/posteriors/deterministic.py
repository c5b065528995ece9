"""One operator with a Gaussian around its output: a second head, or the residuals' variance."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec

from pnol_jax import collectives
from pnol_jax.bases import GridOperands
from pnol_jax.collectives import CASES
from pnol_jax.errors import InputError
from pnol_jax.operators.functional import Apply
from pnol_jax.operators.transforms import project
from pnol_jax.posteriors import losses
from pnol_jax.posteriors.protocol import NORMALISER, OPERATOR, Batch, FitBatch, Metrics, Params
from pnol_jax.posteriors.rollout import unrolled
from pnol_jax.predictive import Predictive
from pnol_jax.sharding.divide import divided
from pnol_jax.sharding.partition import Axes, spec

LossKind = Literal["relative_l2", "h1", "nll"]
NOISE = "noise.variance"
WIDE = ("float32", "float64")  # precisions in which everything is computed alike
LEAST_VARIANCE = 1e-8  # in normalised units


@dataclass(frozen=True)
class Deterministic:
    """A mean by the operator; noise by a second head ("heteroscedastic") or one variance per channel.

    `apply` is the operator with `outputs` channels, twice as many with the head, `start(seed)` draws its parameters and
    `names` are their dimensions' logical names. Trained by "nll", the Gaussian negative log-likelihood of mean and head
    together; or the mean by "relative_l2" or "h1" and the head by the likelihood of what the mean, held fixed, leaves
    over (weighted by `head_weight`). With a `precision` of 16 bits the operator alone computes in it. On trajectories
    the loss is unrolled over the steps that a batch holds; with `increment` the operator gives the change of the state,
    the first of the inputs' channels. A `band_limited` mean is projected onto the functions of the operator's basis.
    """

    apply: Apply
    start: Callable[[int], Params]
    outputs: int
    names: Mapping[str, Axes] = field(default_factory=dict)
    loss_kind: LossKind = "relative_l2"
    heteroscedastic: bool = True
    head_weight: float = 0.1
    pushforward: bool = False
    input_noise: float = 0.0
    increment: bool = False
    band_limited: bool = False
    precision: str = "float32"
    members: int | None = None
    has_samples: bool = False

    def __post_init__(self) -> None:
        if self.loss_kind == "nll" and not self.heteroscedastic:
            raise InputError(
                "training.loss: 'nll' needs posterior.heteroscedastic = true; expected that, or 'relative_l2' or 'h1'"
            )

    @property
    def axes(self) -> Mapping[str, Axes]:
        """The logical names of the operator's parameters' dimensions."""
        return {OPERATOR + name: axes for name, axes in self.names.items()}

    def initial(self, seed: int) -> Params:
        """The operator's parameters drawn with `seed`: the same numbers in float32 and in float64."""
        return {OPERATOR + name: jnp.asarray(value, float) for name, value in self.start(seed).items()}

    def moments(self, params: Params, inputs: jax.Array, grid: GridOperands) -> tuple[jax.Array, jax.Array | None]:
        """Mean and, with the head, variance in normalised units: (batch, *space, in) -> (batch, *space, out)."""
        operator = {name.removeprefix(OPERATOR): value for name, value in params.items() if name.startswith(OPERATOR)}
        mean, deviation = params[NORMALISER + "inputs.mean"], params[NORMALISER + "inputs.std"]
        normal = (inputs - mean) / deviation
        compute = normal.dtype if self.precision in WIDE else self.precision
        raw = self.apply(operator, normal.astype(compute), grid).astype(normal.dtype)
        center = raw[..., : self.outputs]
        if self.increment:
            center = center + normal[..., : self.outputs]
        if self.band_limited:
            center = project(center, grid)
        if not self.heteroscedastic:
            return center, None
        return center, jax.nn.softplus(raw[..., self.outputs :]) + LEAST_VARIANCE

    def _physical(self, params: Params, mean: jax.Array) -> jax.Array:
        return mean * params[NORMALISER + "outputs.std"] + params[NORMALISER + "outputs.mean"]

    def mean(self, params: Params, inputs: jax.Array, grid: GridOperands) -> jax.Array:
        """The mean in physical units."""
        return self._physical(params, self.moments(params, inputs, grid)[0])

    def loss(self, params: Params, batch: Batch, grid: GridOperands, key: jax.Array) -> tuple[jax.Array, Metrics]:
        """The loss of one step, or the mean over the steps of a trajectory."""
        if batch.outputs.ndim == batch.inputs.ndim:
            return self._one_step(params, batch, grid)
        return unrolled(self._one_step, self.mean, params, batch, grid, key, self.pushforward, self._noise(params))

    def _noise(self, params: Params) -> jax.Array:
        return self.input_noise * params[NORMALISER + "outputs.std"]

    def _one_step(self, params: Params, batch: Batch, grid: GridOperands) -> tuple[jax.Array, Metrics]:
        normal, variance = self.moments(params, batch.inputs, grid)
        mean = self._physical(params, normal)
        error = losses.relative_l2(mean, batch.outputs, grid)
        if self.loss_kind == "nll":
            assert variance is not None
            total = self._likelihood(params, normal, variance, batch, grid)
        else:
            total = error if self.loss_kind == "relative_l2" else losses.relative_h1(mean, batch.outputs, grid)
            if variance is not None:
                fixed = lax.stop_gradient(normal)
                total = total + self.head_weight * self._likelihood(params, fixed, variance, batch, grid)
        return total, {"relative_l2": error}

    def _likelihood(
        self, params: Params, mean: jax.Array, variance: jax.Array, batch: Batch, grid: GridOperands
    ) -> jax.Array:
        shift, scale = params[NORMALISER + "outputs.mean"], params[NORMALISER + "outputs.std"]
        return losses.gaussian_nll(mean, variance, (batch.outputs - shift) / scale, grid)

    def fit(self, params: Params, data: Callable[[], Iterable[FitBatch]]) -> Params:
        """Without the head: the residuals' variance per channel, in normalised units."""
        if self.heteroscedastic:
            return params
        return params | {NOISE: mean_square(self.squared_residuals, spec(), params, data)}

    def squared_residuals(self, params: Params, one: FitBatch) -> tuple[jax.Array, jax.Array]:
        """The sum over a batch's cases of the squared residual in normalised units, (outputs,), and their number."""
        batch, grid, mask = one
        truth = batch.outputs if batch.outputs.ndim == batch.inputs.ndim else batch.outputs[:, 0]
        error = (self.mean(params, batch.inputs, grid) - truth) / params[NORMALISER + "outputs.std"]
        here = mask @ losses.domain_mean(jnp.square(error), grid)
        return collectives.total(here, CASES), collectives.total(jnp.sum(mask), CASES)

    def predict(
        self, params: Params, inputs: jax.Array, grid: GridOperands, key: jax.Array, num_samples: int = 0
    ) -> Predictive:
        """Mean and noise variance; the epistemic variance of one operator is not known and given as zero."""
        if num_samples:
            raise InputError("samples: a deterministic posterior has none; expected an ensemble, or num_samples = 0")
        normal, variance = self.moments(params, inputs, grid)
        mean = self._physical(params, normal)
        noise = params[NOISE] if variance is None else variance
        aleatoric = jnp.broadcast_to(noise * params[NORMALISER + "outputs.std"] ** 2, mean.shape)
        return Predictive(mean=mean, aleatoric=aleatoric, epistemic=jnp.zeros_like(mean))


def mean_square(
    squares: Callable[[Params, FitBatch], tuple[jax.Array, jax.Array]],
    division: PartitionSpec,
    params: Params,
    data: Callable[[], Iterable[FitBatch]],
) -> jax.Array:
    """The mean over a pass of what `squares` adds up a batch; `division` says how a mesh divides it."""
    compiled = divided(squares, (division, spec()))
    parts = [compiled(params, batch) for batch in data()]
    summed, count = jax.tree.map(lambda *values: jnp.sum(jnp.stack(values), axis=0), *parts)
    variance: jax.Array = summed / count + LEAST_VARIANCE
    return variance
