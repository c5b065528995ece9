"""One operator with a Gaussian around its output: a second head, or the residuals' variance."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax

from pnol_jax.bases import GridOperands
from pnol_jax.errors import InputError
from pnol_jax.operators.functional import Apply
from pnol_jax.operators.transforms import project
from pnol_jax.posteriors import losses
from pnol_jax.posteriors.protocol import NORMALISER, OPERATOR, Batch, FitBatch, Metrics, Params
from pnol_jax.posteriors.residuals import LEAST_VARIANCE, NOISE, mean_square, squared_residuals
from pnol_jax.posteriors.rollout import StepLoss, StepMean, unrolled
from pnol_jax.posteriors.units import normal_inputs, normal_outputs, physical
from pnol_jax.predictive import Predictive
from pnol_jax.sharding.partition import Axes, spec

LossKind = Literal["relative_l2", "h1", "nll"]
WIDE = ("float32", "float64")  # precisions in which everything is computed alike


@dataclass(frozen=True)
class Deterministic:
    """A mean by the operator; noise by a second head ("heteroscedastic") or one variance per channel.

    `apply` is the operator with `outputs` channels, twice as many with the head, `start(seed)` draws its parameters and
    `names` are their dimensions' logical names. Trained by "nll", the Gaussian negative log-likelihood of mean and head
    together; or the mean by "relative_l2" or "h1" and the head by the likelihood of what the mean, held fixed, leaves
    over (weighted by `head_weight`). `beta`, with "nll": a point counts by its variance to this power. With a
    `precision` of 16 bits the operator alone computes in it. On trajectories the loss is unrolled over the steps that a
    batch holds; with `increment` the operator gives the change of the state, which the inputs begin with. What a
    `band_limited` operator gives is projected onto the functions of its basis. `prefix`: what the operator's parameters
    are called by; `last_layer`: those in which its outputs are linear, as it says (`Functional.last_layer`).
    """

    apply: Apply
    start: Callable[[int], Params]
    outputs: int
    names: Mapping[str, Axes] = field(default_factory=dict)
    loss_kind: LossKind = "relative_l2"
    heteroscedastic: bool = True
    head_weight: float = 0.1
    beta: float = 0.0
    pushforward: bool = False
    input_noise: float = 0.0
    increment: bool = False
    band_limited: bool = False
    precision: str = "float32"
    prefix: str = OPERATOR
    last_layer: tuple[str, ...] = ()
    members: int | None = None
    has_samples: bool = False

    def __post_init__(self) -> None:
        if self.loss_kind == "nll" and not self.heteroscedastic:
            raise InputError(
                "training.loss: 'nll' needs posterior.heteroscedastic = true; expected that, or 'relative_l2' or 'h1'"
            )
        if self.beta and self.loss_kind != "nll":
            raise InputError(
                f"posterior.beta: got {self.beta:g} with training.loss = {self.loss_kind!r}, in which the mean does "
                "not see the variance; expected training.loss = 'nll', or beta = 0"
            )

    @property
    def axes(self) -> Mapping[str, Axes]:
        """The logical names of the operator's parameters' dimensions."""
        return {self.prefix + name: axes for name, axes in self.names.items()}

    def initial(self, seed: int) -> Params:
        """The operator's parameters drawn with `seed`: the same numbers in float32 and in float64."""
        return {self.prefix + name: jnp.asarray(value, float) for name, value in self.start(seed).items()}

    def raw(self, params: Params, normal: jax.Array, grid: GridOperands) -> jax.Array:
        """What the operator makes of normalised inputs: (batch, *space, in) -> (batch, *space, its channels)."""
        start = len(self.prefix)
        operator = {name[start:]: value for name, value in params.items() if name.startswith(self.prefix)}
        compute = normal.dtype if self.precision in WIDE else self.precision
        raw = self.apply(operator, normal.astype(compute), grid).astype(normal.dtype)
        if not (self.increment or self.band_limited):
            return raw
        centre, others = raw[..., : self.outputs], raw[..., self.outputs :]
        centre = centre + normal[..., : self.outputs] if self.increment else centre
        centre = project(centre, grid) if self.band_limited else centre
        return jnp.concatenate([centre, others], axis=-1)

    def moments(self, params: Params, inputs: jax.Array, grid: GridOperands) -> tuple[jax.Array, jax.Array | None]:
        """Mean and, with the head, variance in normalised units: (batch, *space, in) -> (batch, *space, out)."""
        raw = self.raw(params, normal_inputs(params, inputs), grid)
        if not self.heteroscedastic:
            return raw, None
        return raw[..., : self.outputs], jax.nn.softplus(raw[..., self.outputs :]) + LEAST_VARIANCE

    def mean(self, params: Params, inputs: jax.Array, grid: GridOperands) -> jax.Array:
        """The mean in physical units, (batch, *space, out)."""
        return physical(params, self.moments(params, inputs, grid)[0])

    def loss(self, params: Params, batch: Batch, grid: GridOperands, key: jax.Array) -> tuple[jax.Array, Metrics]:
        """The loss of one step, or the mean over the steps of a trajectory."""
        return self.over_steps(self._one_step, self.mean, params, batch, grid, key)

    def over_steps(
        self, loss: StepLoss, mean: StepMean, params: Params, batch: Batch, grid: GridOperands, key: jax.Array
    ) -> tuple[jax.Array, Metrics]:
        """A loss (), of one step, or as its mean over the steps of a trajectory along which `mean` goes on."""
        if batch.outputs.ndim == batch.inputs.ndim:
            return loss(params, batch, grid)
        return unrolled(loss, mean, params, batch, grid, key, self.pushforward, self.state_noise(params))

    def state_noise(self, params: Params) -> jax.Array:
        """The standard deviation of what is added to the first state of a trajectory, (channels,)."""
        return self.input_noise * params[NORMALISER + "outputs.std"]

    def _one_step(self, params: Params, batch: Batch, grid: GridOperands) -> tuple[jax.Array, Metrics]:
        normal, variance = self.moments(params, batch.inputs, grid)
        mean = physical(params, normal)
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
        return losses.gaussian_nll(mean, variance, normal_outputs(params, batch.outputs), grid, self.beta)

    def fit(self, params: Params, data: Callable[..., Iterable[FitBatch]]) -> Params:
        """Without the head: the residuals' variance per channel, in normalised units."""
        if self.heteroscedastic:
            return params
        return params | {NOISE: mean_square(self.squared_residuals, spec(), params, data)}

    def squared_residuals(self, params: Params, one: FitBatch) -> tuple[jax.Array, jax.Array]:
        """The sum over a batch's cases of the squared residual in normalised units, (outputs,), and their number."""
        return squared_residuals(self.mean(params, one.batch.inputs, one.grid), params, one)

    def predict(
        self, params: Params, inputs: jax.Array, grid: GridOperands, key: jax.Array, num_samples: int = 0
    ) -> Predictive:
        """Mean and noise variance; the epistemic variance of one operator is not known and given as zero."""
        if num_samples:
            raise InputError("samples: a deterministic posterior has none; expected an ensemble, or num_samples = 0")
        normal, variance = self.moments(params, inputs, grid)
        mean = physical(params, normal)
        noise = params[NOISE] if variance is None else variance
        aleatoric = jnp.broadcast_to(noise * params[NORMALISER + "outputs.std"] ** 2, mean.shape)
        return Predictive(mean=mean, aleatoric=aleatoric, epistemic=jnp.zeros_like(mean))
